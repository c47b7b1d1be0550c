"""The kit on a real stack: our three services pass, and a participant in another language takes part."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from cli.conformance.cases import CASES
from cli.stack import OwnStack, free_port_offset, start_stack
from shared.settings import Settings
from tests.e2e.conftest import FAST, Ended, Rest, handfast
from tests.e2e.waiting import until
from tests.integration.conformance.lacks import Lack
from tests.integration.conformance.node import needs_node, seats
from tests.integration.conformance.participant import ToyParticipant
from tests.ports import free_port

AT_A_STACK = "expired-at-a-running-coordinator"
NEED_A_SERVED_COORDINATOR = {case.name for case in CASES if case.waits} - {AT_A_STACK}
ORDER = {"productId": "2", "qty": 1, "paymentAmt": 1, "hold": {"seconds": 600}}
SECTION = "docs/participants.md#expiry"


@pytest.fixture(scope="module")
def seats_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def stack(seats_port: int) -> Iterator[OwnStack]:
    """A stack of this module's own: stray Confirms leave dead letters at its coordinator."""
    offset = free_port_offset()
    stack = start_stack(
        port_offset=offset,
        environment={**FAST, "HANDFAST_PARTICIPANTS": json.dumps(registered(offset, seats_port))},
    )
    yield stack
    stack.stop()


def registered(offset: int, seats_port: int) -> list[dict[str, str]]:
    settings = Settings(_env_file=None, port_offset=offset)
    kinds = (
        ("order", "order-reservations", "kafka:order-confirmation"),
        ("stock", "stocks", "kafka:stock-adjustment"),
        ("payment", "payments", "kafka:payment-capture"),
    )
    ours = [
        {"name": name, "url": settings.url(name), "path": f"/api/v1/{collection}", "confirm": confirm}
        for name, collection, confirm in kinds
    ]
    seats = {"name": "seats", "url": f"http://127.0.0.1:{seats_port}", "path": "/api/v1/seats"}
    return [*ours, {**seats, "confirm": "rest"}]


def options(rest: Rest, name: str) -> list[str]:
    """Return what the kit is told of one of our services."""
    watch, claim, refused, more = {
        "stock": ("stock/products/1", {"productId": "1", "qty": 1}, {"productId": "none", "qty": 1}, []),
        "payment": (
            "payment/accounts/guest",
            {"paymentAmt": 1},
            {"paymentAmt": 1, "customerId": "nobody"},
            [],
        ),
        "order": (
            None,
            {"orderId": "{orderId}"},
            {"orderId": "nobody-s"},
            ["--begin", rest.url("order/orders"), "--begin-body", json.dumps(ORDER)],
        ),
    }[name]
    watched = [] if watch is None else ["--watch", rest.url(watch)]
    return ["--claim", json.dumps(claim), "--refused-claim", json.dumps(refused), *watched, *more]


@pytest.mark.parametrize("name", ["stock", "payment", "order"])
def test_our_services_pass(
    stack: OwnStack, rest_of: Callable[[OwnStack], Rest], name: str, tmp_path: Path
) -> None:
    rest = rest_of(stack)
    collection = {"stock": "stocks", "payment": "payments", "order": "order-reservations"}[name]
    url, junit = rest.url(f"{name}/{collection}"), tmp_path / "report.xml"
    coordinator = stack.settings.url("coordinator")
    more = ("--coordinator", coordinator, "--expiry", "1", "--json", "--junit", str(junit))
    ended = handfast("conformance", url, *options(rest, name), *more, seconds=120)

    assert ended.code == 0, ended.out + ended.err
    report = json.loads(ended.out)
    assert report["failed"] == 0
    assert {one["name"] for one in report["cases"] if one["result"] == "skipped"} == NEED_A_SERVED_COORDINATOR
    assert not any("leftHeld" in one for one in report["cases"])
    suite = ElementTree.parse(junit).getroot()[0]  # noqa: S314 - our own file
    assert (suite.get("tests"), suite.get("failures")) == (str(len(CASES)), "0")


async def test_what_the_kit_began_is_settled(stack: OwnStack, rest_of: Callable[[OwnStack], Rest]) -> None:
    rest = rest_of(stack)
    arguments = options(rest, "order")
    chosen = ("--case", "confirm-repeated", "--case", "cancel-before-try", "--case", AT_A_STACK)
    coordinator = ("--coordinator", stack.settings.url("coordinator"), "--expiry", "1")
    ended = handfast("conformance", rest.url("order/order-reservations"), *arguments, *coordinator, *chosen)

    assert ended.code == 0, ended.out + ended.err
    assert "3 passed, 0 failed, 0 skipped" in ended.out

    def settled() -> bool:
        orders = rest.get("order/orders?limit=500")["items"]
        transactions = rest.get("coordinator/transactions?limit=500")["items"]
        states = {one["status"] for one in orders} | {one["state"] for one in transactions}
        return states == {"CONFIRMED", "CANCELLED"} and not any(one["attention"] for one in transactions)

    await until(settled, "every order and transaction is final")


async def test_one_that_lets_go_by_its_own_clock_is_told_apart(stack: OwnStack) -> None:
    coordinator = stack.settings.url("coordinator")
    async with ToyParticipant(coordinator_url=coordinator).served() as good:
        passed = await _at(good, coordinator)
    async with ToyParticipant(Lack.PATIENCE, coordinator).served() as broken:
        failed = await _at(broken, coordinator)

    assert passed.code == 0, passed.out + passed.err
    assert failed.code == 1
    assert "let go of on the participant's own word" in failed.out
    assert "1 of 1 cases failed" in failed.err
    assert f"contract  it asks the coordinator, which says cancel, and is let go of ({SECTION})" in failed.out
    assert "request   POST http" in failed.out


@needs_node
async def test_a_participant_in_another_language_takes_part(
    stack: OwnStack, rest_of: Callable[[OwnStack], Rest], tmp_path: Path, seats_port: int
) -> None:
    rest = rest_of(stack)
    coordinator = stack.settings.url("coordinator")
    async with seats(tmp_path / "journal", coordinator, seats_port) as url:
        kept = await asyncio.to_thread(_transaction, rest, 2)
        assert kept.status_code == 201, kept.text
        document = kept.json()
        assert document["state"] == "CONFIRMED"
        refused = await asyncio.to_thread(_transaction, rest, 1_000)
        assert refused.status_code == 409
        assert refused.json()["branchProblem"]["type"] == "urn:handfast:problem:sold-out"
        async with httpx.AsyncClient(trust_env=False) as client:
            shows = await client.get(f"{url}/api/v1/shows")
        assert shows.json()["evening"] == {"free": 198, "held": 0, "sold": 2}
        arguments = ("--claim", '{"show":"matinee","seats":1}', "--case", AT_A_STACK, "--expiry", "1")
        ended = await asyncio.to_thread(
            handfast, "conformance", f"{url}/api/v1/seats", *arguments, "--coordinator", coordinator
        )
        assert ended.code == 0, ended.out + ended.err


def _transaction(rest: Rest, count: int) -> Any:
    branches = [
        {"participant": "stock", "claim": {"productId": "3", "qty": 1}},
        {"participant": "seats", "claim": {"show": "evening", "seats": count}},
    ]
    return rest.send("POST", "coordinator/transactions", {"branches": branches}, Prefer="wait=20")


async def _at(toy: ToyParticipant, coordinator: str) -> Ended:
    arguments = ("--claim", '{"count":1}', "--case", AT_A_STACK, "--expiry", "0.5")
    return await asyncio.to_thread(handfast, "conformance", toy.url, *arguments, "--coordinator", coordinator)
