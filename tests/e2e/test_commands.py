"""The commands on a real stack: orders, transactions and dead letters by hand."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from cli.stack import OwnStack
from tests.e2e.conftest import Ended, Rest, handfast
from tests.e2e.waiting import eventually

Command = Callable[..., Ended]


@pytest.fixture
def command(stack: OwnStack) -> Command:
    """Runs a command against the shared stack."""

    def command(*arguments: str) -> Ended:
        return handfast(*arguments, HANDFAST_PORT_OFFSET=str(stack.settings.port_offset))

    return command


@pytest.fixture
def rest(stack: OwnStack, rest_of: Callable[[OwnStack], Rest]) -> Rest:
    return rest_of(stack)


def reading(ended: Ended) -> Any:
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def test_an_order_by_hand(command: Command) -> None:
    placed = reading(
        command(
            "orders",
            "place",
            "--item",
            "1:2",
            "--amount",
            "700",
            "--order-id",
            "hand-1",
            "--wait",
            "20",
            "--json",
        )
    )
    assert placed["status"] == "CONFIRMED"
    assert reading(command("orders", "show", "hand-1", "--json")) == placed
    listed = reading(command("orders", "list", "--status", "CONFIRMED", "--json"))["items"]
    assert placed in listed
    assert "hand-1\tCONFIRMED\tguest\t2 x 1\t700\t" in command("orders", "list").out
    transaction = reading(command("tx", "show", placed["transactionId"], "--json"))
    assert transaction["state"] == "CONFIRMED"
    assert {branch["participant"] for branch in transaction["branches"]} == {"order", "stock", "payment"}


def test_a_held_order_is_paid_or_cancelled(command: Command) -> None:
    for order_id in ("hold-1", "hold-2"):
        held = reading(
            command(
                "orders", "place", "-i", "2", "-a", "10", "--order-id", order_id, "--hold", "60", "--json"
            )
        )
        assert held["status"] == "HELD"
    assert reading(command("orders", "confirm", "hold-1", "--wait", "20", "--json"))["status"] == "CONFIRMED"
    assert reading(command("orders", "cancel", "hold-2", "--json"))["status"] == "CANCELLED"
    assert command("orders", "cancel", "hold-1").code == 1
    assert "order-confirmed" in command("orders", "cancel", "hold-1").err


def test_a_refused_order_ends_with_1_and_its_reason(command: Command) -> None:
    ended = command("orders", "place", "--item", "prd-0003:31", "--amount", "1", "--order-id", "too-many")
    assert ended.code == 1
    assert "insufficient-stock" in ended.err
    refused = reading(command("orders", "show", "too-many", "--json"))
    assert refused["reason"] == "insufficient-stock"


def test_the_timeline_is_drawn(command: Command) -> None:
    order = reading(command("orders", "place", "-i", "1", "-a", "1", "--wait", "20", "--json"))
    shown = command("tx", "show", order["transactionId"]).out
    for expected in (
        "● TRYING",
        "stock    try: 201",
        "● CONFIRMING",
        "confirm: published",
        "confirmed",
        "● CONFIRMED",
    ):
        assert expected in shown, shown


def test_transactions_are_listed_and_hurried(command: Command) -> None:
    order = reading(command("orders", "place", "-i", "1", "-a", "1", "--wait", "20", "--json"))
    listed = reading(command("tx", "list", "--state", "CONFIRMED", "--limit", "500", "--json"))["items"]
    assert order["transactionId"] in [transaction["transactionId"] for transaction in listed]
    assert command("tx", "retry", order["transactionId"]).code == 0


def test_what_does_not_exist_ends_with_3(command: Command) -> None:
    for arguments in (
        ("orders", "show", "nobody"),
        ("tx", "show", "nothing"),
        ("tx", "retry", "nothing"),
        ("dlt", "show", "nothing"),
        ("dlt", "replay", "nothing"),
        ("dlt", "list", "--topic", "no-such-topic"),
    ):
        assert command(*arguments).code == 3, arguments


def test_a_stack_that_is_not_there_ends_with_4() -> None:
    for arguments in (
        ("orders", "list"),
        ("tx", "list"),
        ("dlt", "list"),
        ("dlt", "replay", "--all", "--yes"),
    ):
        assert handfast(*arguments, "--port-offset", "49000").code == 4, arguments


def test_a_dead_letter_is_listed_shown_replayed_and_then_skipped(command: Command, rest: Rest) -> None:
    rest.send("PUT", "stock/products/cold", {"onHand": 5}).raise_for_status()
    order = rest.order("cold-1", "cold", hold={"seconds": 120}).json()
    assert order["status"] == "HELD"
    rest.send("PUT", "stock/products/cold", {"frozen": True}).raise_for_status()
    assert rest.send("PUT", "order/orders/cold-1").json()["status"] == "CONFIRMING"

    def open_letters() -> list[Any]:
        ended = command("dlt", "list", "--topic", "stock-adjustment", "--state", "OPEN", "--json")
        return list(json.loads(ended.out)["items"])

    [letter] = eventually(open_letters, "the letter is listed")
    assert (letter["program"], letter["transactionId"]) == ("stock", order["transactionId"])
    shown = command("dlt", "show", letter["letterId"])
    assert shown.code == 0
    assert "stock-adjustment" in shown.out
    attention = reading(command("tx", "list", "--attention", "--json"))["items"]
    assert order["transactionId"] in [transaction["transactionId"] for transaction in attention]

    dry = command("dlt", "replay", "--topic", "stock-adjustment", "--dry-run")
    assert (dry.code, "would be replayed" in dry.out) == (0, True)
    assert command("dlt", "replay", letter["letterId"]).code == 1, "still frozen: it comes back"
    rest.send("PUT", "stock/products/cold", {"frozen": False}).raise_for_status()
    replayed = command("dlt", "replay", "--topic", "stock-adjustment", "--why", "thawed")
    assert replayed.code == 0, replayed.err
    assert "applied" in replayed.out
    eventually(lambda: rest.get("order/orders/cold-1")["status"] == "CONFIRMED", "the order is CONFIRMED")
    assert rest.get("stock/products/cold")["sold"] == 1
    skipped = command("dlt", "replay", letter["letterId"])
    assert skipped.code == 0
    assert "skipped: already settled" in skipped.out
    assert rest.get("stock/products/cold")["sold"] == 1
    assert command("dlt", "replay", "--topic", "stock-adjustment").code == 3


def test_ids_that_look_like_paths_reach_nothing_else(command: Command) -> None:
    assert command("orders", "show", "../products/1").code in (1, 3)
