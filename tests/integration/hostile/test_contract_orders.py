"""Orders, as the contract's table has them: each call, each answer, on the whole system."""

import re
from typing import Any, Final

import pytest

from tests.e2e.waiting import eventually
from tests.integration.hostile.programs import Programs
from tests.integration.hostile.wire import Answer

WAIT: Final = {"Prefer": "wait=20"}
INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(scope="module")
def shop(programs: Programs) -> Programs:
    programs.send("PUT", "stock", "/products/p", {"onHand": 1_000})
    programs.send("PUT", "stock", "/products/scarce", {"onHand": 2})
    programs.send("PUT", "stock", "/products/limited", {"onHand": 100, "purchaseLimit": 2})
    programs.send("PUT", "stock", "/products/frozen", {"onHand": 100, "frozen": True})
    for customer_id in ("c", "guest"):
        programs.send("PUT", "payment", f"/accounts/{customer_id}", {"balance": 100_000})
    return programs


def place(programs: Programs, order_id: str, prefer: dict[str, str] | None = None, **more: Any) -> Answer:
    body = {"orderId": order_id, "customerId": "c", "productId": "p", "qty": 1, "paymentAmt": 5} | more
    body = {name: value for name, value in body.items() if value is not None}
    return programs.send("POST", "order", "/orders", body, WAIT if prefer is None else prefer)


def hold(programs: Programs, order_id: str, seconds: int = 600, **more: Any) -> Answer:
    return place(programs, order_id, hold={"seconds": seconds}, **more)


def status_of(programs: Programs, order_id: str) -> str:
    status: str = programs.read("order", f"/orders/{order_id}")["status"]
    return status


def test_an_order_is_shown_with_all_its_fields(shop: Programs) -> None:
    placed = place(shop, "fields", items=[{"productId": "p", "qty": 3}], productId=None, qty=None)
    assert (placed.status, placed.headers["location"]) == (201, "/api/v1/orders/fields")
    order = placed.json()
    fields = [
        "orderId",
        "customerId",
        "items",
        "paymentAmt",
        "status",
        "transactionId",
        "createdAt",
        "updatedAt",
    ]
    assert sorted(order) == sorted(fields)
    assert (order["items"], order["paymentAmt"]) == ([{"productId": "p", "qty": 3}], 5)
    assert INSTANT.fullmatch(order["createdAt"])
    assert INSTANT.fullmatch(order["updatedAt"])
    assert shop.read("order", "/orders/fields") == order
    held = hold(shop, "fields-held").json()
    assert sorted(held) == sorted([*fields, "expiresAt"])
    assert INSTANT.fullmatch(held["expiresAt"])


def test_an_order_without_an_id_or_a_customer_gets_both(shop: Programs) -> None:
    body = {"productId": "p", "qty": 1, "paymentAmt": 0}
    placed = shop.send("POST", "order", "/orders", body)
    assert placed.status == 201
    order = placed.json()
    assert order["customerId"] == "guest"
    assert order["status"] in ("CONFIRMING", "CONFIRMED")
    assert placed.headers["location"] == f"/api/v1/orders/{order['orderId']}"


def test_a_repeat_is_200_with_the_order_as_it_is_now(shop: Programs) -> None:
    assert place(shop, "repeat", {}).status == 201
    repeated = place(shop, "repeat")
    assert (repeated.status, repeated.json()["status"]) == (200, "CONFIRMED")
    # An equal body is equal however it is spelled.
    assert place(shop, "repeat", items=[{"productId": "p", "qty": 1}], productId=None, qty=None).status == 200
    others: list[dict[str, Any]] = [
        {"qty": 2},
        {"paymentAmt": 6},
        {"customerId": "guest"},
        {"productId": "q"},
        {"hold": {}},
    ]
    for other in others:
        assert place(shop, "repeat", **other).told == (422, "order-id-reused")


REFUSED: Final[list[tuple[str, dict[str, Any], int, str]]] = [
    ("no-money", {"paymentAmt": 100_001}, 402, "payment-declined"),
    ("no-account", {"customerId": "nobody"}, 402, "payment-declined"),
    ("no-stock", {"productId": "scarce", "qty": 3}, 409, "insufficient-stock"),
    ("much", {"qty": 1_000_000_000}, 409, "insufficient-stock"),
    ("limit", {"productId": "limited", "qty": 3}, 409, "purchase-limit-reached"),
    ("frozen", {"productId": "frozen"}, 409, "product-frozen"),
    ("unknown", {"productId": "unheard-of"}, 422, "unknown-product"),
    ("huge", {"paymentAmt": 9_007_199_254_740_991}, 402, "payment-declined"),
]


@pytest.mark.parametrize(("order_id", "more", "status", "slug"), REFUSED, ids=[each[0] for each in REFUSED])
def test_a_refusal_is_kept_readable_and_repeated(
    shop: Programs, order_id: str, more: dict[str, Any], status: int, slug: str
) -> None:
    refused = place(shop, order_id, **more)
    assert refused.told == (status, slug)
    assert place(shop, order_id, **more).json() == refused.json()
    eventually(lambda: status_of(shop, order_id) == "CANCELLED", "the refused order is settled")
    assert shop.read("order", f"/orders/{order_id}")["reason"] == slug
    assert place(shop, order_id, **more).json() == refused.json()


def test_an_idempotency_key_names_one_result(shop: Programs) -> None:
    key = WAIT | {"Idempotency-Key": "one"}
    body = {"customerId": "c", "productId": "p", "qty": 1, "paymentAmt": 5}
    first = shop.send("POST", "order", "/orders", body, key)
    again = shop.send("POST", "order", "/orders", body, key)
    assert (first.status, again.status) == (201, 200)
    assert again.json() == first.json()
    other = shop.send("POST", "order", "/orders", body | {"qty": 2}, key)
    assert other.told == (422, "idempotency-key-reused")
    poor = {"Idempotency-Key": "two"}
    refusals = [shop.send("POST", "order", "/orders", body | {"paymentAmt": 10**9}, poor) for _ in range(2)]
    assert refusals[0].told == (402, "payment-declined")
    assert refusals[1].json() == refusals[0].json()
    assert shop.send("POST", "order", "/orders", body, poor).told == (422, "idempotency-key-reused")


def test_a_hold_is_paid_for(shop: Programs) -> None:
    held = hold(shop, "hold")
    assert (held.status, held.json()["status"]) == (201, "HELD")
    paid = shop.send("PUT", "order", "/orders/hold", headers=WAIT)
    assert (paid.status, paid.json()["status"]) == (200, "CONFIRMED")
    assert shop.send("PUT", "order", "/orders/hold").status == 200
    assert shop.send("DELETE", "order", "/orders/hold").told == (409, "order-confirmed")
    # So it is with an order that was bought at once.
    assert place(shop, "bought").status == 201
    assert shop.send("PUT", "order", "/orders/bought").status == 200
    assert shop.send("DELETE", "order", "/orders/bought").told == (409, "order-confirmed")


def test_a_declined_payment_leaves_the_order_held(shop: Programs) -> None:
    assert hold(shop, "poor", customerId="poor").status == 201
    for _ in range(2):
        assert shop.send("PUT", "order", "/orders/poor").told == (402, "payment-declined")
        assert status_of(shop, "poor") == "HELD"
    shop.send("PUT", "payment", "/accounts/poor", {"balance": 5})
    paid = shop.send("PUT", "order", "/orders/poor", headers=WAIT)
    assert (paid.status, paid.json()["status"]) == (200, "CONFIRMED")
    assert shop.read("payment", "/accounts/poor")["captured"] == 5


def test_a_hold_is_called_off(shop: Programs) -> None:
    hold(shop, "off", productId="scarce", qty=2)
    for _ in range(2):
        assert shop.send("DELETE", "order", "/orders/off").told == (204, "")
    assert status_of(shop, "off") == "CANCELLED"
    assert shop.read("stock", "/products/scarce")["held"] == 0
    assert shop.send("PUT", "order", "/orders/off").told == (409, "order-cancelled")


def test_a_hold_expires(shop: Programs) -> None:
    hold(shop, "late", seconds=1, productId="scarce", qty=1)
    eventually(lambda: status_of(shop, "late") == "CANCELLED", "the hold expires")
    assert shop.read("order", "/orders/late")["reason"] == "reservation-expired"
    assert shop.send("PUT", "order", "/orders/late").told == (410, "reservation-expired")
    assert shop.send("DELETE", "order", "/orders/late").told == (204, "")
    assert shop.read("stock", "/products/scarce")["held"] == 0


def test_orders_are_listed_by_customer_and_status(shop: Programs) -> None:
    shop.send("PUT", "payment", "/accounts/lister", {"balance": 100})
    names = [f"list-{number}" for number in range(5)]
    for name in names:
        place(shop, name, customerId="lister")
    place(shop, "list-refused", customerId="lister", paymentAmt=10_000)
    eventually(lambda: status_of(shop, "list-refused") == "CANCELLED", "the refused order is settled")
    listed = shop.read("order", "/orders?customerId=lister&status=CONFIRMED")
    assert sorted(one["orderId"] for one in listed["items"]) == names
    assert listed["nextCursor"] is None
    [cancelled] = shop.read("order", "/orders?customerId=lister&status=CANCELLED")["items"]
    assert cancelled["orderId"] == "list-refused"
    assert shop.read("order", "/orders?customerId=nobody-at-all")["items"] == []


@pytest.mark.parametrize(
    ("program", "path", "name"),
    [
        ("order", "/orders", "orderId"),
        ("order", "/order-reservations", "id"),
        ("stock", "/products", "productId"),
        ("stock", "/stocks", "id"),
        ("payment", "/accounts", "customerId"),
        ("payment", "/payments", "id"),
        ("coordinator", "/transactions", "transactionId"),
    ],
)
def test_a_list_is_read_page_by_page(shop: Programs, program: str, path: str, name: str) -> None:
    for number in range(3):
        place(shop, f"page-{path[1:]}-{number}", productId="p")
    whole = shop.read(program, f"{path}?limit=500")
    assert whole["nextCursor"] is None
    ids, cursor = [], ""
    for _ in range(len(whole["items"]) + 1):
        page = shop.read(program, f"{path}?limit=1{cursor}")
        ids += [one[name] for one in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert ids == [one[name] for one in whole["items"]]
    assert len(ids) >= 3
    assert len(shop.read(program, path)["items"]) == min(len(ids), 50)
