"""The whole stack on PostgreSQL: orders live there, not in files, and outlive the programs and the server."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from cli.api import Api
from cli.outcome import CommandError
from cli.stack import OwnStack, own_stack, start_stack
from shared.database.place import Schema
from shared.settings import database_place
from tests.backing import Backing
from tests.e2e.waiting import eventually
from tests.postgres import Server


def place(stack: OwnStack, order_id: str) -> Any:
    body = {"orderId": order_id, "productId": "1", "qty": 1, "paymentAmt": 5}
    with Api(stack.settings) as api:
        return api.send("POST", "order", "/orders", body).body


def status(stack: OwnStack, order_id: str) -> str:
    with Api(stack.settings) as api:
        found: str = api.get("order", f"/orders/{order_id}")["status"]
    return found


def schemas(postgres: Server, prefix: str) -> list[str]:
    rows = postgres.execute("SELECT nspname FROM pg_namespace ORDER BY nspname")
    return [row[0] for row in rows if row[0].startswith(prefix)]


def test_orders_outlive_the_programs_and_the_server(tmp_path: Path, postgres: Server) -> None:
    environment = {
        "HANDFAST_DATABASE_URL": postgres.url,
        "HANDFAST_DATABASE_SCHEMA": postgres.prefix(),
        "HANDFAST_REPUBLISH_SECONDS": "1",
    }
    stack = start_stack(data_dir=tmp_path, environment=environment)
    assert place(stack, "before")["status"] in ("CONFIRMING", "CONFIRMED")
    stack.kill()
    with own_stack(data_dir=tmp_path, environment=environment) as stack:
        eventually(lambda: status(stack, "before") == "CONFIRMED", "the order that was accepted is confirmed")
        postgres.stop(signal.SIGQUIT)
        with pytest.raises(CommandError, match="connection"):
            place(stack, "never")
        postgres.start()
        eventually(lambda: _taken(stack, "after"), "orders are taken again")
        eventually(lambda: status(stack, "after") == "CONFIRMED", "and confirmed")
        with Api(stack.settings) as api:
            product = api.get("stock", "/products/1")
        assert (product["onHand"], product["held"], product["sold"]) == (998, 0, 2)
    assert list(tmp_path.glob("*.db")) == []


@pytest.mark.at_length
def test_an_ephemeral_stack_leaves_no_schema(postgres: Server) -> None:
    before = schemas(postgres, "handfast")
    with own_stack(environment={"HANDFAST_DATABASE_URL": postgres.url}) as stack:
        assert len(schemas(postgres, "handfast")) == len(before) + 4
        place(stack, "one")
    assert schemas(postgres, "handfast") == before


@pytest.mark.at_length
def test_what_a_killed_ephemeral_stack_left_is_removed_by_the_next(postgres: Server) -> None:
    environment = Backing(postgres).environment() | {"HANDFAST_DATABASE_SCHEMA": postgres.prefix()}
    prefix = environment["HANDFAST_DATABASE_SCHEMA"]
    killed = start_stack(environment=environment)
    killed.kill()
    assert len(schemas(postgres, prefix)) == 4
    lock = killed.settings.data_dir / "up.lock"
    os.utime(lock, (0, 0))
    with own_stack(environment=environment) as stack:
        assert not lock.parent.exists()
        own = database_place(stack.settings, "order")
        assert isinstance(own, Schema)
        assert len(schemas(postgres, prefix)) == 4
        assert own.name in schemas(postgres, prefix)
    assert schemas(postgres, prefix) == []


def _taken(stack: OwnStack, order_id: str) -> bool:
    try:
        place(stack, order_id)
    except CommandError:
        return False
    return True
