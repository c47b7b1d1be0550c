"""Takes a snapshot over REST: every list read to its end, every transaction's timeline.

How a page is fetched is a parameter, so that it works on real processes as in the simulator. At rest the
snapshot is of one moment; while the system is at work, its parts are of several.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from tests.snapshot import Account, Branch, Letter, Order, Product, Reservation, Snapshot, Transaction

Read = Callable[[str, str], Awaitable[Any]]
"""Return what a GET answers. Program: a key of shared.settings.PORTS; path: what follows /api/v1."""

T = TypeVar("T")
R = TypeVar("R")

PAGE: Final = 500
AT_ONCE: Final = 8
COLLECTIONS: Final = {"order": "/order-reservations", "stock": "/stocks", "payment": "/payments"}
PROGRAMS: Final = ("coordinator", *COLLECTIONS)


async def collect(read: Read, deposits: Mapping[str, int]) -> Snapshot:
    """Take a snapshot. deposits: what was paid into each account, which REST doesn't tell (deposits_of)."""
    orders = [_order(row) for row in await _all(read, "order", "/orders")]
    transactions = await _each(
        await _all(read, "coordinator", "/transactions"), lambda row: _transaction(read, row)
    )
    reservations = [
        _reservation(program, row)
        for program, path in COLLECTIONS.items()
        for row in await _all(read, program, path)
    ]
    products = await _each(await _all(read, "stock", "/products"), lambda row: _product(read, row))
    accounts = [_account(row, deposits) for row in await _all(read, "payment", "/accounts")]
    letters = [
        _letter(program, row) for program in PROGRAMS for row in await _all(read, program, "/dead-letters")
    ]
    return Snapshot(
        tuple(orders),
        tuple(transactions),
        tuple(reservations),
        tuple(products),
        tuple(accounts),
        tuple(letters),
    )


async def deposits_of(read: Read) -> dict[str, int]:
    """Return what was paid into each account so far, taking for granted that it adds up now."""
    rows = await _all(read, "payment", "/accounts")
    return {row["customerId"]: row["balance"] + row["captured"] - row["refunded"] for row in rows}


async def _all(read: Read, program: str, path: str) -> list[dict[str, Any]]:
    """Read a list to its end."""
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await read(program, f"{path}?limit={PAGE}{cursor}")
        items += page["items"]
        if page["nextCursor"] is None:
            return items
        cursor = f"&cursor={page['nextCursor']}"


async def _each(rows: Sequence[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """Do the same with each row, a few at a time."""
    few = asyncio.Semaphore(AT_ONCE)

    async def one(row: T) -> R:
        async with few:
            return await work(row)

    return list(await asyncio.gather(*(one(row) for row in rows)))


def _order(row: Mapping[str, Any]) -> Order:
    return Order(
        order_id=row["orderId"],
        transaction_id=row["transactionId"],
        customer_id=row["customerId"],
        items=_items(row),
        amount=row["paymentAmt"],
        status=row["status"],
    )


async def _transaction(read: Read, row: Mapping[str, Any]) -> Transaction:
    transaction_id = row["transactionId"]
    events = await read("coordinator", f"/transactions/{transaction_id}/events")
    return Transaction(
        transaction_id=transaction_id,
        state=row["state"],
        branches=tuple(
            Branch(branch["branchId"], branch["participant"], branch["state"]) for branch in row["branches"]
        ),
        history=tuple(event["state"] for event in events["items"] if event["event"] == "state"),
    )


def _reservation(program: str, row: Mapping[str, Any]) -> Reservation:
    # A tombstone claims nothing.
    return Reservation(
        participant=program,
        reservation_id=row["id"],
        state=row["state"],
        transaction_id=row.get("transactionId"),
        customer_id=row.get("customerId", ""),
        items=_items(row),
        amount=row.get("paymentAmt", 0),
    )


async def _product(read: Read, row: Mapping[str, Any]) -> Product:
    adjustments = await _all(read, "stock", f"/products/{row['productId']}/adjustments")
    return Product(
        product_id=row["productId"],
        on_hand=row["onHand"],
        held=row["held"],
        available=row["available"],
        sold=row["sold"],
        adjusted=sum(adjustment["delta"] for adjustment in adjustments),
        purchase_limit=row["purchaseLimit"],
    )


def _account(row: Mapping[str, Any], deposits: Mapping[str, int]) -> Account:
    return Account(
        customer_id=row["customerId"],
        balance=row["balance"],
        held=row["held"],
        available=row["available"],
        captured=row["captured"],
        refunded=row["refunded"],
        deposited=deposits.get(row["customerId"], 0),
    )


def _letter(program: str, row: Mapping[str, Any]) -> Letter:
    return Letter(
        letter_id=row["letterId"],
        program=program,
        topic=row["topic"],
        state=row["state"],
        branch_id=row["branchId"],
        transaction_id=row["transactionId"],
    )


def _items(row: Mapping[str, Any]) -> dict[str, int]:
    units: Counter[str] = Counter()
    for item in row.get("items", ()):
        units[item["productId"]] += item["qty"]
    return dict(units)
