"""Where bodies come in, what each of their fields is, and what is wrong for a field of that kind."""

import json
from dataclasses import dataclass
from typing import Any, Final

# What no JSON writer would write stands in for a value as raw text.
_HUGE = ["9223372036854775808", "-9223372036854775809", "1" + "0" * 400, "1e400", "-1e400", "NaN", "Infinity"]
_NOT_A_NUMBER = ['"1"', '""', "true", "false", "[1]", "{}", "1.5", "0.1e-7", *_HUGE]
_NOT_A_TEXT = ["1", "true", "[]", "{}", '""', '"\\ud800"']
_TOO_LONG_ID, _TOO_LONG_TEXT = json.dumps("a" * 65), json.dumps("a" * 201)
_NO_ID_CHARACTERS = [
    "a/b",
    "a b",
    "é",
    "😀",
    "a\r\nb",
    "a\n",
    "a\0",
    "%2e",
    "a?b",
    "$x",
    "<b>",
    "'--",
    "\uff41",
    "\u200b",
]

WRONG: Final = {
    "id": [*_NOT_A_TEXT, _TOO_LONG_ID, *map(json.dumps, _NO_ID_CHARACTERS)],
    "text": [*_NOT_A_TEXT, _TOO_LONG_TEXT, '"a\\u0000"', '"a\\r\\nb"', '"\\u001b[2J"', '"\\u007f"'],
    "quantity": [*_NOT_A_NUMBER, "0", "-1", "1000000001"],
    "stock": [*_NOT_A_NUMBER, "-1", "1000000000001", "null"],
    "money": [*_NOT_A_NUMBER, "-1", "9007199254740992", "null"],
    "amount": [*_NOT_A_NUMBER, "-1", "0", "9007199254740992"],
    "delta": [*_NOT_A_NUMBER, "1000000001", "-1000000001", "null"],
    "seconds": [*_NOT_A_NUMBER, "0", "-1", "86401"],
    "timeout": ['"1"', "true", "[1]", "{}", "0", "-1", "86401", *_HUGE],
    "flag": ['"true"', "1", "0", "[]", "{}", '""', "null"],
    "object": ['"x"', "1", "true", "[]", "null"],
    "hold": ['"x"', "1", "true", "[]", '{"seconds":0}', '{"seconds":1.5}', '{"seconds":86401}', '{"x":1}'],
    "items": ["{}", "[]", '"p"', "1", '[{"productId":"p"}]', "[null]", '[{"productId":"p","qty":1,"x":1}]'],
    "branches": ["{}", "[]", '"stock"', "1", "null", '[{"participant":"stock"}]', '[{"claim":{}}]', "[null]"],
    "settled": [
        "{}",
        "[]",
        '"b"',
        "1",
        "null",
        "[null]",
        '[{"transactionId":"t","branchId":"b"}]',
        '[{"transactionId":"t","branchId":"b","state":"TRIED"}]',
    ],
    "mode": ['"AUTO"', '"x"', "1", "null", "[]"],
    "key": [*_NOT_A_TEXT, _TOO_LONG_ID],
}


@dataclass(frozen=True)
class Door:
    """Where a body may come in. fields: what each field is; required: those that can't be left out."""

    program: str
    method: str
    path: str
    body: dict[str, Any]
    fields: dict[str, str]
    required: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


BRANCH = {"participant": "stock", "claim": {"productId": "p", "qty": 1}}
_LINE = {"productId": "p", "qty": 1}
DOORS: Final = [
    Door(
        "order",
        "POST",
        "/orders",
        {**_LINE, "customerId": "c", "paymentAmt": 1, "hold": {"seconds": 60}, "orderId": "doors"},
        {"orderId": "id", "customerId": "id", "productId": "id", "qty": "quantity", "paymentAmt": "money"},
        ("productId", "qty", "paymentAmt"),
    ),
    Door(
        "order",
        "POST",
        "/orders",
        {"items": [_LINE], "paymentAmt": 1, "hold": {}, "customerId": "c"},
        {"items": "items", "hold": "hold"},
        ("items",),
    ),
    Door("order", "POST", "/order-reservations", {"orderId": "doors"}, {"orderId": "id"}, ("orderId",)),
    Door(
        "stock",
        "PUT",
        "/products/doors",
        {"name": "n", "onHand": 5, "purchaseLimit": 2, "frozen": False},
        {"name": "text", "onHand": "stock", "purchaseLimit": "quantity", "frozen": "flag"},
    ),
    Door(
        "stock",
        "POST",
        "/products/doors/adjustments",
        {"delta": 1, "reason": "found"},
        {"delta": "delta", "reason": "text"},
        ("delta", "reason"),
    ),
    Door(
        "stock",
        "POST",
        "/stocks",
        {**_LINE, "customerId": "c", "orderId": "o", "seconds": 60},
        {"productId": "id", "qty": "quantity", "customerId": "id", "orderId": "id", "seconds": "seconds"},
        ("productId", "qty"),
    ),
    Door("stock", "POST", "/stocks", {"items": [_LINE]}, {"items": "items"}, ("items",)),
    Door("payment", "PUT", "/accounts/doors", {"balance": 7}, {"balance": "money"}, ("balance",)),
    Door(
        "payment",
        "POST",
        "/payments",
        {"customerId": "c", "orderId": "o", "paymentAmt": 1, "seconds": 60},
        {"customerId": "id", "orderId": "id", "paymentAmt": "money", "seconds": "seconds"},
        ("paymentAmt",),
    ),
    Door(
        "payment",
        "POST",
        "/payments/captured/refunds",
        {"amount": 1, "reason": "broken"},
        {"amount": "amount", "reason": "text"},
        ("reason",),
    ),
    Door(
        "coordinator",
        "POST",
        "/transactions",
        {
            "transactionId": "doors",
            "mode": "auto",
            "timeoutSeconds": 5,
            "initiator": "stock",
            "branches": [BRANCH],
        },
        {
            "transactionId": "id",
            "mode": "mode",
            "timeoutSeconds": "timeout",
            "initiator": "id",
            "branches": "branches",
        },
        ("branches",),
    ),
    Door(
        "coordinator",
        "POST",
        "/transactions/manual/branches",
        {"participant": "payment", "claim": {"paymentAmt": 1, "customerId": "c"}, "key": "k"},
        {"participant": "id", "claim": "object", "key": "key"},
        ("participant", "claim"),
    ),
    Door("coordinator", "POST", "/transactions/manual/inquiries", {"branchId": "b"}, {"branchId": "id"}),
    Door(
        "coordinator",
        "POST",
        "/branches/forgettable",
        {"branches": [{"transactionId": "t", "branchId": "b", "state": "CONFIRMED"}]},
        {"branches": "settled"},
        ("branches",),
    ),
]
