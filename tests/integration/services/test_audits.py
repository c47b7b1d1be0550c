"""Each service compares what it counts with the rows that it stands for: what is wrong is told with evidence,
what follows from other rows is counted again, and nothing else is touched."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

import pytest
from sqlalchemy import Connection

from shared.messaging.broker import Record
from shared.messaging.failure import Failure
from shared.messaging.letters import keep
from shared.messaging.listener import Subject
from tests.simulation.loop import run_virtually
from tests.simulation.world import GRACE_SECONDS, World, world

HOLD = {"seconds": 3_600}
Wanted = tuple[str, str, str, Mapping[str, Any]]
"""What must be found: kind, the subject's beginning, verdict, and at least this evidence."""


def audited(story: Callable[[World], Awaitable[None]]) -> None:
    """Tell a story of a shop that has sold, holds, has cancelled and has refunded something."""

    async def run() -> None:
        async with world() as one:
            await one.call("PUT", "stock", "/products/p", {"onHand": 10, "purchaseLimit": 5})
            await one.call("PUT", "stock", "/products/q", {"onHand": 10})
            for customer in ("c", "d"):
                await one.call("PUT", "payment", f"/accounts/{customer}", {"balance": 1_000})
            await place(one, "sold", prefer="wait=20")
            await place(one, "held", hold=HOLD)
            await place(one, "short", productId="q", qty=11, prefer="wait=20")
            alone = await one.call("POST", "payment", "/payments", {"customerId": "d", "paymentAmt": 7})
            path = f"/payments/{alone.json()['id']}"
            assert (await one.call("PUT", "payment", path, prefer="wait=20")).status == 204
            refund = {"amount": 3, "reason": "scratched"}
            assert (await one.call("POST", "payment", f"{path}/refunds", refund)).status == 201
            await asyncio.sleep(1)
            await story(one)

    run_virtually(run())


async def place(one: World, order_id: str, *, prefer: str = "", **more: object) -> None:
    wish = {"orderId": order_id, "customerId": "c", "productId": "p", "qty": 2, "paymentAmt": 100, **more}
    await one.call("POST", "order", "/orders", wish, **({"prefer": prefer} if prefer else {}))


async def audit(one: World, program: str, *, repair: bool = False, limit: int = 50) -> list[dict[str, Any]]:
    """Run a program's audits, page by page."""
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        path = f"/audits?repair={str(repair).lower()}&limit={limit}{cursor}"
        reply = await one.call("POST", program, path)
        assert reply.status == 200, reply
        items += reply.json()["items"]
        if reply.json()["nextCursor"] is None:
            return items
        cursor = f"&cursor={reply.json()['nextCursor']}"


def tamper(one: World, program: str, *statements: str) -> None:
    """Change rows behind a program's back; each statement must change one."""
    for statement in statements:
        changed = one.hosts[program].store.write_now(partial(_changed, statement))
        assert changed == 1, f"{changed} rows: {statement}"


def _changed(statement: str, connection: Connection) -> int:
    return connection.exec_driver_sql(statement).rowcount


def rows(one: World, program: str, statement: str) -> list[tuple[Any, ...]]:
    return one.hosts[program].store.write_now(
        lambda connection: [tuple(row) for row in connection.exec_driver_sql(statement)]
    )


def test_what_is_right_is_not_found() -> None:
    async def story(one: World) -> None:
        for program in ("order", "stock", "payment"):
            assert await audit(one, program, repair=True) == []

    audited(story)


# What was done to which program's rows, and what must be found.
WRONG: Final[list[tuple[str, str, Wanted]]] = [
    (
        "stock",
        "UPDATE product SET held = held + 1 WHERE product_id = 'p'",
        ("counter-differs", "product p", "repairable", {"held": {"is": 3, "shouldBe": 2}}),
    ),
    (
        "stock",
        "UPDATE product SET sold = sold - 1 WHERE product_id = 'p'",
        ("counter-differs", "product p", "repairable", {"sold": {"is": 1, "shouldBe": 2}}),
    ),
    (
        "stock",
        "UPDATE product SET on_hand = on_hand + 5 WHERE product_id = 'q'",
        (
            "on-hand-differs",
            "product q",
            "person",
            {"onHand": {"is": 15, "shouldBe": 10}, "adjusted": 10, "sold": 0},
        ),
    ),
    (
        "stock",
        "UPDATE product SET held = 0, on_hand = 1 WHERE product_id = 'p'",
        ("counter-differs", "product p", "person", {"held": {"is": 0, "shouldBe": 2}}),
    ),
    (
        "stock",
        "UPDATE purchase SET held = 1 WHERE product_id = 'p'",
        ("counter-differs", "product p, customer c", "repairable", {"held": {"is": 1, "shouldBe": 2}}),
    ),
    (
        "stock",
        "DELETE FROM purchase WHERE product_id = 'p'",
        (
            "counter-differs",
            "product p, customer c",
            "repairable",
            {"held": {"is": 0, "shouldBe": 2}, "sold": {"is": 0, "shouldBe": 2}},
        ),
    ),
    (
        "stock",
        "DELETE FROM product WHERE product_id = 'p'",
        ("product-missing", "product p", "person", {"held": 2, "sold": 2, "adjusted": 10}),
    ),
    (
        "payment",
        "UPDATE account SET held = 99 WHERE customer_id = 'd'",
        ("counter-differs", "account d", "repairable", {"held": {"is": 99, "shouldBe": 0}}),
    ),
    (
        "payment",
        "UPDATE account SET captured = captured + 1 WHERE customer_id = 'c'",
        ("counter-differs", "account c", "repairable", {"captured": {"is": 101, "shouldBe": 100}}),
    ),
    (
        "payment",
        "UPDATE account SET balance = balance - 4 WHERE customer_id = 'd'",
        (
            "balance-differs",
            "account d",
            "person",
            {"balance": {"is": 992, "shouldBe": 996}, "deposited": 1_000, "captured": 7},
        ),
    ),
    (
        "payment",
        "UPDATE reservation SET state = 'CANCELLED' WHERE transaction_id IS NULL",
        ("captures-differ", "account d", "person", {"confirmedPayments": 0, "captures": 7}),
    ),
    (
        "payment",
        "UPDATE capture SET refunded = 0 WHERE customer_id = 'd'",
        (
            "counter-differs",
            "payment ",
            "repairable",
            {"refunded": {"is": 0, "shouldBe": 3}, "captured": 7},
        ),
    ),
    (
        "order",
        "UPDATE orders SET status = 'CONFIRMING' WHERE order_id = 'sold'",
        ("order-differs", "order sold", "repairable", {"status": "CONFIRMING", "reservation": "CONFIRMED"}),
    ),
    (
        "order",
        "UPDATE orders SET status = 'CONFIRMED' WHERE order_id = 'short'",
        ("order-differs", "order short", "person", {"status": "CONFIRMED", "reservation": "CANCELLED"}),
    ),
    (
        "order",
        "DELETE FROM reservation WHERE state = 'TRIED'",
        ("reservation-missing", "order held", "person", {"status": "HELD", "reservation": None}),
    ),
    (
        "order",
        "DELETE FROM orders WHERE order_id = 'held'",
        ("order-missing", "reservation ", "person", {"reservation": "TRIED"}),
    ),
]


@pytest.mark.parametrize("program", ["order", "stock", "payment"])
def test_what_is_wrong_is_found_and_counted_again_where_that_can_be(program: str) -> None:
    async def story(one: World) -> None:
        cases = [(statement, wanted) for where, statement, wanted in WRONG if where == program]
        assert cases
        before = one.hosts[program].store.write_now(_driver).serialize()
        for statement, wanted in cases:
            await _found_and_repaired(one, program, statement, wanted)
            one.hosts[program].store.write_now(_driver).deserialize(before)

    audited(story)


async def _found_and_repaired(one: World, program: str, statement: str, wanted: Wanted) -> None:
    kind, subject, verdict, evidence = wanted
    tamper(one, program, statement)
    [found, *others] = await audit(one, program)
    assert (found["kind"], found["verdict"], found["repaired"]) == (kind, verdict, False), statement
    assert found["subject"].startswith(subject), statement
    assert evidence.items() <= found["evidence"].items(), statement
    assert await audit(one, program) == [found, *others], "looking changed something"
    [first, *rest] = await audit(one, program, repair=True)
    assert (first["kind"], first["repaired"]) == (kind, verdict == "repairable"), statement
    assert len(rest) == len(others), statement
    left = await audit(one, program, repair=True)
    assert [one["kind"] for one in left] == [one["kind"] for one in (found, *others) if _stays(one)]


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _stays(found: Mapping[str, Any]) -> bool:
    return bool(found["verdict"] == "person")


def test_a_limit_that_a_wrong_counter_let_pass_is_told() -> None:
    async def story(one: World) -> None:
        tamper(one, "stock", "UPDATE purchase SET sold = 0 WHERE product_id = 'p'")
        await place(one, "more", prefer="wait=20")
        found = await audit(one, "stock", repair=True)
        assert [(one["kind"], one["repaired"]) for one in found] == [
            ("counter-differs", True),
            ("limit-exceeded", False),
        ]
        assert found[1]["evidence"] == {"taken": 6, "purchaseLimit": 5}

    audited(story)


def test_a_lowered_limit_is_nothing_wrong() -> None:
    async def story(one: World) -> None:
        await one.call("PUT", "stock", "/products/p", {"purchaseLimit": 1})
        assert await audit(one, "stock") == []

    audited(story)


def test_the_letter_of_a_settled_branch_is_settled_once_it_is_old() -> None:
    async def story(one: World) -> None:
        [(branch_id, transaction_id)] = rows(
            one, "stock", "SELECT id, transaction_id FROM reservation WHERE state = 'CONFIRMED'"
        )
        record = Record("stock-adjustment", 0, 0, 0, 0, None, b"{}")
        one.hosts["stock"].store.write_now(
            lambda connection: keep(
                connection,
                record,
                subject=Subject(branch_id, transaction_id),
                failure=Failure("E", "E", "", ""),
                attempts=1,
                group="g",
                now=one.clock.now(),
                new_id=lambda: "L",
            )
        )
        assert await audit(one, "stock") == [], "it is only late"
        await asyncio.sleep(GRACE_SECONDS + 1)
        [found] = await audit(one, "stock", repair=True)
        assert (found["kind"], found["subject"], found["repaired"]) == (
            "letter-of-settled-branch",
            "letter L",
            True,
        )
        assert (await one.read("stock", "/dead-letters/L"))["state"] == "SETTLED"
        assert await audit(one, "stock") == []

    audited(story)


def test_a_standalone_reservation_that_nobody_sweeps_is_swept() -> None:
    async def story(one: World) -> None:
        body = {"productId": "q", "qty": 1, "customerId": "d", "seconds": 5}
        path = f"/stocks/{(await one.call('POST', 'stock', '/stocks', body)).json()['id']}"
        tamper(one, "stock", "UPDATE reservation SET due_at = NULL WHERE transaction_id IS NULL")
        await asyncio.sleep(GRACE_SECONDS + 4)
        assert await audit(one, "stock") == [], "it is only late"
        await asyncio.sleep(5)
        assert (await one.read("stock", path))["state"] == "TRIED"
        [found] = await audit(one, "stock", repair=True)
        assert (found["kind"], found["repaired"]) == ("standalone-dangling", True)
        await asyncio.sleep(2)
        assert (await one.read("stock", path))["state"] == "CANCELLED"

    audited(story)


def test_a_long_list_is_told_in_pages_and_repaired_all_the_same() -> None:
    async def story(one: World) -> None:
        for number in range(230):
            await one.call("PUT", "stock", f"/products/many-{number}", {"onHand": 5})
        one.hosts["stock"].store.write_now(
            lambda connection: connection.exec_driver_sql(
                "UPDATE product SET held = 1 WHERE product_id LIKE 'many%'"
            )
        )
        found = await audit(one, "stock", limit=7)
        assert len({one["subject"] for one in found}) == len(found) == 230
        mended = await audit(one, "stock", repair=True, limit=7)
        assert len(mended) == 230, "what was repaired and not told of"
        assert all(one["repaired"] for one in mended)
        assert await audit(one, "stock") == []

    audited(story)


def test_a_cursor_of_another_list_is_refused() -> None:
    async def story(one: World) -> None:
        reply = await one.call("POST", "stock", "/audits?cursor=nonsense")
        assert (reply.status, reply.json()["type"]) == (422, "urn:handfast:problem:invalid-request")

    audited(story)
