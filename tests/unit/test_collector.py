"""A snapshot over REST: every page of every list, every timeline, every program's letters."""

from collections.abc import Mapping
from typing import Any

from tests.collector import collect
from tests.snapshot import Account, Branch, Letter, Order, Product, Reservation, Transaction


async def test_a_snapshot_has_every_page_and_every_timeline() -> None:
    asked: list[str] = []

    async def read(program: str, path: str) -> dict[str, Any]:
        asked.append(f"{program}{path}")
        path, _, query = path.partition("?")
        if path.endswith("/events"):
            return {"items": [{"event": "state", "state": "CANCELLED"}, {"event": "call"}]}
        if path.endswith("/adjustments"):
            return {"items": [{"delta": 4}, {"delta": -1}], "nextCursor": None}
        rows = _PAGES.get((program, path), [])
        if "cursor=" in query:
            return {"items": rows[1:], "nextCursor": None}
        return {"items": rows[:1], "nextCursor": "more" if len(rows) > 1 else None}

    found = await collect(read, {"ann": 100})
    assert found.orders == tuple(
        Order(order_id, "t1", "ann", {"p": 3}, 5, "CANCELLED") for order_id in ("o1", "o2")
    )
    assert found.transactions == (
        Transaction("t1", "CANCELLED", (Branch("b", "stock", "REFUSED"),), ("CANCELLED",)),
    )
    assert found.reservations == (
        Reservation("stock", "b", "CANCELLED", "t1"),
        Reservation("payment", "c", "TRIED", None, "ann", amount=7),
    )
    assert found.products == (Product("p", 3, 1, 2, 0, adjusted=3, purchase_limit=None),)
    assert found.accounts == (Account("ann", 100, 7, 93, 0, 0, deposited=100),)
    assert found.letters == (Letter("l", "order", "order-confirmation", "OPEN", None, None),)
    assert sum("dead-letters" in path for path in asked) == 4


_ORDER = {
    "transactionId": "t1",
    "customerId": "ann",
    "items": [{"productId": "p", "qty": 1}, {"productId": "p", "qty": 2}],
    "paymentAmt": 5,
    "status": "CANCELLED",
}
_PAGES: Mapping[tuple[str, str], list[dict[str, Any]]] = {
    ("order", "/orders"): [{**_ORDER, "orderId": "o1"}, {**_ORDER, "orderId": "o2"}],
    ("coordinator", "/transactions"): [
        {
            "transactionId": "t1",
            "state": "CANCELLED",
            "branches": [{"branchId": "b", "participant": "stock", "state": "REFUSED"}],
        }
    ],
    ("stock", "/stocks"): [{"id": "b", "state": "CANCELLED", "transactionId": "t1"}],
    ("payment", "/payments"): [{"id": "c", "state": "TRIED", "customerId": "ann", "paymentAmt": 7}],
    ("stock", "/products"): [
        {"productId": "p", "onHand": 3, "held": 1, "available": 2, "sold": 0, "purchaseLimit": None}
    ],
    ("payment", "/accounts"): [
        {"customerId": "ann", "balance": 100, "held": 7, "available": 93, "captured": 0, "refunded": 0}
    ],
    ("order", "/dead-letters"): [
        {
            "letterId": "l",
            "topic": "order-confirmation",
            "state": "OPEN",
            "branchId": None,
            "transactionId": None,
        }
    ],
}
