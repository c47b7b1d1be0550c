"""The command as a whole: what it offers, and how it answers misuse."""

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_stack import FakeStack, problem


@pytest.mark.parametrize(
    "command",
    [
        "up",
        "demo",
        "bench",
        "bench contention",
        "bench databases",
        "bench instances",
        "bench drops",
        "conformance",
        "db upgrade",
        "tx list",
        "tx show",
        "tx retry",
        "dlt list",
        "dlt show",
        "dlt replay",
    ]
    + [f"drops {name}" for name in ("put", "show", "list", "claim", "reissue")]
    + [f"orders {name}" for name in ("place", "show", "list", "confirm", "cancel")],
)
def test_every_command_of_the_contract_explains_itself(run: Run, command: str) -> None:
    ended = run(*command.split(), "--help")
    assert ended.code == 0
    assert "Usage:" in ended.out


@pytest.mark.parametrize(
    "command",
    [
        "drops show x",
        "drops list",
        "orders show x",
        "orders list",
        "tx list",
        "tx show x",
        "dlt list",
        "dlt show x",
    ],
)
def test_every_reading_command_offers_json(run: Run, command: str) -> None:
    assert "--json" in run(*command.split()[:2], "--help").out


@pytest.mark.parametrize(
    "arguments",
    [
        "nonsense",
        "orders",
        "up --nonsense",
        "bench --in-flight 1,x",
        "bench --orders 3 contention",
        "bench contention --products 0",
        "bench databases --rounds 0",
        "bench instances --of-each 2,2",
        "bench drops --units 0",
        "drops put x",
        "tx show",
    ],
)
def test_misuse_ends_with_2(run: Run, arguments: str) -> None:
    assert run(*arguments.split()).code == 2


def test_an_ephemeral_stack_is_captured_by_nobody(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFAST_OUTBOX", "cdc")
    monkeypatch.setenv("HANDFAST_DATABASE_URL", "postgresql://u@127.0.0.1:1/d")
    ended = run("up", "--ephemeral")
    assert ended.code == 2
    assert "HANDFAST_OUTBOX=cdc" in ended.err


def test_an_ephemeral_stack_brings_its_own_directory(run: Run) -> None:
    ended = run("up", "--ephemeral", "--data-dir", "x")
    assert ended.code == 2
    assert "--ephemeral brings its own" in ended.err


def test_a_port_that_does_not_exist_ends_with_2(run: Run) -> None:
    assert run("up", "--ephemeral", "--port-offset", "60000").code == 2


def test_db_upgrade_makes_and_keeps_the_databases(run: Run) -> None:
    first = run("db", "upgrade", "--data-dir", "data")
    again = run("db", "upgrade", "--data-dir", "data")
    assert (first.code, again.code) == (0, 0)
    assert first.out.count("upgraded") == 4
    assert again.out.count("up to date") == 4


def test_why_a_command_failed_is_no_order_to_the_terminal(fake: FakeStack, run: Run) -> None:
    fake.answers["GET order/orders/x"] = (409, problem("odd", 409, "\x1b[2Jboo\u202e"))
    ended = run("orders", "show", "x")
    assert (ended.code, ended.err) == (1, "handfast: odd: \\x1b[2Jboo\\u202e\n")
