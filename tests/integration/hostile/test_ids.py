"""Ids in a path are `[A-Za-z0-9._~-]{1,64}`: any other is refused, every such one is taken."""

from typing import Final

import pytest

from tests.integration.hostile.programs import Programs

# Program, method, path with {} where the id stands, a body that would do.
PLACES: Final = [
    ("order", "GET", "/orders/{}", None),
    ("order", "PUT", "/orders/{}", None),
    ("order", "DELETE", "/orders/{}", None),
    ("order", "GET", "/order-reservations/{}", None),
    ("order", "PUT", "/order-reservations/{}", None),
    ("order", "DELETE", "/order-reservations/{}", None),
    ("stock", "PUT", "/products/{}", {"onHand": 1}),
    ("stock", "GET", "/products/{}", None),
    ("stock", "POST", "/products/{}/adjustments", {"delta": 1, "reason": "r"}),
    ("stock", "GET", "/products/{}/adjustments", None),
    ("stock", "GET", "/stocks/{}", None),
    ("stock", "PUT", "/stocks/{}", None),
    ("stock", "DELETE", "/stocks/{}", None),
    ("payment", "PUT", "/accounts/{}", {"balance": 1}),
    ("payment", "GET", "/accounts/{}", None),
    ("payment", "GET", "/payments/{}", None),
    ("payment", "PUT", "/payments/{}", None),
    ("payment", "DELETE", "/payments/{}", None),
    ("payment", "POST", "/payments/{}/refunds", {"reason": "r"}),
    ("payment", "GET", "/payments/{}/refunds", None),
    ("coordinator", "GET", "/transactions/{}", None),
    ("coordinator", "PUT", "/transactions/{}", None),
    ("coordinator", "DELETE", "/transactions/{}", None),
    ("coordinator", "GET", "/transactions/{}/events", None),
    ("coordinator", "POST", "/transactions/{}/branches", {"participant": "stock", "claim": {}}),
    ("coordinator", "POST", "/transactions/{}/inquiries", None),
    ("coordinator", "POST", "/transactions/{}/retries", None),
    *((name, "GET", "/dead-letters/{}", None) for name in ("order", "stock", "payment", "coordinator")),
    *(
        (name, "POST", "/dead-letters/{}/replays", None)
        for name in ("order", "stock", "payment", "coordinator")
    ),
]
every_place = pytest.mark.parametrize(
    ("program", "method", "path", "body"),
    PLACES,
    ids=[f"{name} {how} {path}" for name, how, path, _ in PLACES],
)

HOSTILE: Final = [
    "a" * 65,
    "a" * 5_000,
    *("%00", "a%00b", "%0a", "a%0a", "a%0d%0aX-Injected:%201", "%20", "a%20", "a%09", "%7f", "%1b%5b2J"),
    *("%C3%A9", "%F0%9F%98%80", "%EF%BC%A1", "%E2%80%AE", "%ff", "%c0%af", "%ed%a0%80"),
    *(
        "%252e",
        "%25",
        "%",
        "%zz",
        "a%3Fb",
        "a%23b",
        "a;b",
        "a,b",
        "a:b",
        "a@b",
        "a=b",
        "a+b",
        "a&b",
        "*",
        "$",
        "!",
    ),
    *("%7B%7D", "%24%7Bx%7D", "'--", "%22", "%3Cscript%3E", "%5C", "..%5C..", "(a)", "[a]", "a|b", "^", "`"),
]
SLASHED: Final = ["a%2Fb", "%2F", "..%2F..%2Fetc", "a/b", "a%2f..%2fb", "/"]
NOT_FOUND: Final = (404, "not-found")


@every_place
def test_a_hostile_id_is_refused(
    programs: Programs, program: str, method: str, path: str, body: dict[str, object] | None
) -> None:
    answers = {one: programs.send(method, program, path.format(one), body).told for one in HOSTILE}
    assert {one: told for one, told in answers.items() if told != (422, "invalid-request")} == {}
    # A slash makes it another address, encoded or not: nothing is there.
    answers = {one: programs.send(method, program, path.format(one), body).told for one in SLASHED}
    assert {one: told for one, told in answers.items() if told != NOT_FOUND} == {}
    assert programs.send(method, program, path.format(""), body).told == NOT_FOUND


@every_place
def test_a_line_break_after_a_path_is_not_overlooked(
    programs: Programs, program: str, method: str, path: str, body: dict[str, object] | None
) -> None:
    told = programs.send(method, program, path.format("a") + "%0a", body).told
    assert told == ((422, "invalid-request") if path.endswith("{}") else NOT_FOUND)


@pytest.mark.parametrize("name", [".", "..", "...", "~", "-", "_", "0", "A" * 64, ".-_~.", "null", "-1"])
def test_every_id_of_the_alphabet_is_taken_and_found_again(programs: Programs, name: str) -> None:
    assert programs.send("PUT", "stock", f"/products/{name}", {"onHand": 5}).status == 201
    assert programs.read("stock", f"/products/{name}")["productId"] == name
    assert programs.send("PUT", "payment", f"/accounts/{name}", {"balance": 5}).status == 201
    assert programs.read("payment", f"/accounts/{name}")["customerId"] == name
    order = {"orderId": name, "customerId": name, "productId": name, "qty": 1, "paymentAmt": 1}
    placed = programs.send("POST", "order", "/orders", order, {"Prefer": "wait=20"})
    assert (placed.status, placed.json()["status"]) == (201, "CONFIRMED")
    assert placed.headers["location"] == f"/api/v1/orders/{name}"
    assert programs.read("order", f"/orders/{name}")["status"] == "CONFIRMED"
    branch = {"participant": "stock", "claim": {"productId": name, "qty": 1}, "key": name}
    begun = {"transactionId": name, "branches": [branch]}
    assert programs.send("POST", "coordinator", "/transactions", begun, {"Prefer": "wait=20"}).status == 201
    assert programs.read("coordinator", f"/transactions/{name}")["state"] == "CONFIRMED"


@pytest.mark.parametrize(
    ("program", "path", "known"),
    [
        ("order", "/orders/unheard-of", "unknown-order"),
        ("order", "/order-reservations/unheard-of", "not-found"),
        ("stock", "/products/unheard-of", "not-found"),
        ("stock", "/products/unheard-of/adjustments", "not-found"),
        ("stock", "/stocks/unheard-of", "not-found"),
        ("payment", "/accounts/unheard-of", "not-found"),
        ("payment", "/payments/unheard-of", "not-found"),
        ("payment", "/payments/unheard-of/refunds", "not-found"),
        ("coordinator", "/transactions/unheard-of", "unknown-transaction"),
        ("coordinator", "/transactions/unheard-of/events", "unknown-transaction"),
        ("coordinator", "/dead-letters/unheard-of", "unknown-letter"),
    ],
)
def test_what_is_unknown_is_404(programs: Programs, program: str, path: str, known: str) -> None:
    assert programs.send("GET", program, path).told == (404, known)


@pytest.mark.parametrize(
    ("program", "method", "path", "body"),
    [
        ("order", "PUT", "/orders/unheard-of", None),
        ("order", "DELETE", "/orders/unheard-of", None),
        ("order", "PUT", "/order-reservations/unheard-of", None),
        ("order", "DELETE", "/order-reservations/unheard-of", None),
        ("stock", "POST", "/products/unheard-of/adjustments", {"delta": 1, "reason": "r"}),
        ("stock", "PUT", "/stocks/unheard-of", None),
        ("stock", "DELETE", "/stocks/unheard-of", None),
        ("payment", "PUT", "/payments/unheard-of", None),
        ("payment", "DELETE", "/payments/unheard-of", None),
        ("payment", "POST", "/payments/unheard-of/refunds", {"reason": "r"}),
        ("coordinator", "PUT", "/transactions/unheard-of", None),
        ("coordinator", "DELETE", "/transactions/unheard-of", None),
        ("coordinator", "POST", "/transactions/unheard-of/retries", None),
        ("coordinator", "POST", "/transactions/unheard-of/branches", {"participant": "stock", "claim": {}}),
        ("stock", "POST", "/dead-letters/unheard-of/replays", None),
    ],
)
def test_what_is_unknown_cannot_be_changed(
    programs: Programs, program: str, method: str, path: str, body: dict[str, object] | None
) -> None:
    answer = programs.send(method, program, path, body)
    assert answer.status == 404
    assert answer.slug
