"""Headers that are garbage, half there, too long or there twice: refused as declared, or passed over."""

import hashlib
import re
from typing import Any, Final

import pytest

from tests.e2e.waiting import eventually
from tests.integration.hostile.programs import Programs
from tests.integration.hostile.seeds import instant
from tests.integration.hostile.wire import Answer, Headers

INVALID: Final = (422, "invalid-request")
GOOD_ID = "tx-1"


@pytest.fixture(scope="module")
def shop(programs: Programs) -> Programs:
    programs.send("PUT", "stock", "/products/headers", {"onHand": 10**6})
    programs.send("PUT", "payment", "/accounts/headers", {"balance": 10**6})
    return programs


def reserve(programs: Programs, program: str, headers: Headers) -> Answer:
    path, body = TRIES[program]
    return programs.send("POST", program, path, body, headers)


TRIES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "stock": ("/stocks", {"productId": "headers", "qty": 1}),
    "payment": ("/payments", {"customerId": "headers", "paymentAmt": 1}),
    "order": ("/order-reservations", {"orderId": "headers"}),
}
every_participant = pytest.mark.parametrize("program", TRIES)


def tcc(transaction_id: str = GOOD_ID, branch_id: str = "b", deadline: str | bytes | None = None) -> Any:
    return {
        "TCC-Transaction-Id": transaction_id,
        "TCC-Branch-Id": branch_id,
        "TCC-Deadline": deadline or instant(),
    }


@every_participant
def test_the_tcc_headers_come_together_or_not_at_all(shop: Programs, program: str) -> None:
    whole = tcc()
    for left_out in (*([name] for name in whole), *([a, b] for a in whole for b in whole if a < b)):
        some = {name: value for name, value in whole.items() if name not in left_out}
        assert reserve(shop, program, some).told == INVALID, some
    assert shop.send("GET", program, f"{TRIES[program][0]}/b").status == 404


@every_participant
@pytest.mark.parametrize(
    "deadline",
    [
        *(
            " ",
            "yesterday",
            "0",
            "-1",
            "1700000000",
            "1e12",
            "NaN",
            "null",
            "true",
            "2099",
            "2099-01-01",
            "2099-13-01",
        ),
        *("2099-01-01T00:00:00", "2099-02-30T00:00:00Z", "2099-01-01T25:00:00Z", "2099-01-01T00:00:00+99:00"),
        *("2099-01-01T00:00:00Z, 2099-01-01T00:00:01Z", "2099-01-01T00:00:00ZZ", "+2099-01-01T00:00:00Z"),
        *("20990-01-01T00:00:00Z", "2099-01-01T00:00:00Z\t1", "2099-01-01T00:00:00\xe9", "9" * 5_000),
        *("9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.9999999-00:01", "9999-12-31T23:59:59.999999Z"),
        b"\xff\xfe",
        "2099-01-01T00:00:00\xd9\xa1Z",
    ],
)
def test_a_deadline_that_is_none_is_refused(shop: Programs, program: str, deadline: str | bytes) -> None:
    assert reserve(shop, program, tcc(deadline=deadline)).told == INVALID
    assert shop.send("GET", program, f"{TRIES[program][0]}/b").status == 404


@every_participant
@pytest.mark.parametrize(
    "deadline", ["2001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"]
)
def test_a_try_long_past_its_deadline_is_410(shop: Programs, program: str, deadline: str) -> None:
    assert reserve(shop, program, tcc(deadline=deadline)).told in [(410, "reservation-expired"), INVALID]


@every_participant
def test_tcc_ids_are_ids(shop: Programs, program: str) -> None:
    path = TRIES[program][0]
    for bad in (" ", "a b", "a/b", "a" * 65, "a" * 9_000, "\xe9", "a,b", "%00", "a;b", "{}", '"a"', "a\tb"):
        for name in ("TCC-Transaction-Id", "TCC-Branch-Id"):
            assert reserve(shop, program, {**tcc(), name: bad}).told == INVALID, (name, bad)
        for method in ("PUT", "DELETE"):
            told = shop.send(method, program, f"{path}/b", headers={"TCC-Transaction-Id": bad}).told
            assert told == INVALID, (method, bad)


@every_participant
def test_a_tcc_header_that_is_there_twice_is_refused(shop: Programs, program: str) -> None:
    path = TRIES[program][0]
    for name, value in tcc().items():
        assert reserve(shop, program, [*tcc().items(), (name, value)]).told == INVALID
    twice = [("TCC-Transaction-Id", "a"), ("tcc-transaction-id", "b")]
    for method in ("PUT", "DELETE"):
        assert shop.send(method, program, f"{path}/b", headers=twice).told == INVALID


@every_participant
@pytest.mark.parametrize(
    "reason", ["a" * 5_000, "\xff\xfe", "a\tb", "<script>", " ", "'; DROP TABLE reservation;--"]
)
def test_an_odd_reason_hinders_no_cancel(shop: Programs, program: str, reason: str) -> None:
    path = f"{TRIES[program][0]}/odd-{hashlib.sha256(reason.encode()).hexdigest()[:16]}"
    headers = {"TCC-Transaction-Id": "odd", "TCC-Reason": reason}
    for _ in range(2):
        assert shop.send("DELETE", program, path, headers=headers).status == 204
    shown = shop.read(program, path)
    assert shown["state"] == "CANCELLED"
    assert re.fullmatch(r"[\x20-\x7e]{0,200}", shown.get("reason", ""))


KEYED: Final = [
    ("order", "/orders", {"productId": "headers", "qty": 1, "customerId": "headers", "paymentAmt": 1}),
    ("stock", "/products/headers/adjustments", {"delta": 1, "reason": "found"}),
    ("payment", "/payments/unheard-of/refunds", {"amount": 1, "reason": "r"}),
]


@pytest.mark.parametrize(("program", "path", "body"), KEYED, ids=[each[1] for each in KEYED])
def test_an_idempotency_key_that_is_none_is_refused(
    shop: Programs, program: str, path: str, body: dict[str, Any]
) -> None:
    before = shop.read(program, "/orders?limit=500" if program == "order" else "/dead-letters")
    for bad in (" ", "a b", "a" * 256, "a" * 9_000, "\xe9", b"\xff", "a\tb"):
        assert shop.send("POST", program, path, body, {"Idempotency-Key": bad}).told == INVALID, bad
    for twice in ("a", "b"):
        headers = [("Idempotency-Key", "a"), ("idempotency-key", twice)]
        assert shop.send("POST", program, path, body, headers).told == INVALID
    assert shop.read(program, "/orders?limit=500" if program == "order" else "/dead-letters") == before


@pytest.mark.parametrize(
    "prefer",
    [
        *(
            "wait",
            "wait=",
            "wait=-1",
            "wait=1e9",
            "wait=x",
            'wait="',
            "wait==1",
            ";;;,,,",
            "=",
            " ",
            "wait=\xd9\xa1",
        ),
        *("respond-async", "return=minimal, wait=", 'a="\\', "wait=" + "9" * 6_000, "," * 5_000, 'a="' * 500),
        b"\xff\xfe",
    ],
)
def test_a_preference_that_is_none_is_passed_over(shop: Programs, prefer: str | bytes) -> None:
    order = {"productId": "headers", "qty": 1, "customerId": "headers", "paymentAmt": 1}
    assert shop.send("POST", "order", "/orders", order, {"Prefer": prefer}).status == 201


TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    "traceparent",
    [
        *(
            "garbage",
            " ",
            "00",
            "00-0-0-00",
            f"ff-{TRACE}-b7ad6b7169203331-01",
            f"00-{'0' * 32}-b7ad6b7169203331-01",
        ),
        *(
            f"00-{TRACE}-{'0' * 16}-01",
            f"00-{TRACE.upper()}-b7ad6b7169203331-01",
            f"00-{TRACE}-b7ad6b7169203331-01-x",
        ),
        *("\xff" * 55, "a" * 9_000, f"00-{TRACE}-b7ad6b7169203331-zz", f"00-{TRACE}-b7ad6b7169203331-01,"),
    ],
)
def test_a_traceparent_that_is_none_is_replaced_by_one(shop: Programs, traceparent: str) -> None:
    records = {"stock-adjustment": 0, "tcc-outcomes": 0, "payment-capture": 0}
    for topic in records:
        records[topic] = len(shop.broker.records(topic))
    order = {"productId": "headers", "qty": 1, "customerId": "headers", "paymentAmt": 1}
    placed = shop.send("POST", "order", "/orders", order, {"traceparent": traceparent, "Prefer": "wait=20"})
    assert placed.json()["status"] == "CONFIRMED"
    for topic, seen in records.items():
        new = eventually(lambda topic=topic, seen=seen: shop.broker.records(topic)[seen:], "records")  # type: ignore[misc]
        for record in new:
            sent = record.header("traceparent")
            assert sent is None or TRACEPARENT.fullmatch(sent), sent


def test_a_traceparent_goes_with_the_order_all_the_way(shop: Programs) -> None:
    order = {"productId": "headers", "qty": 1, "customerId": "headers", "paymentAmt": 1}
    trace = "5bd92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "Prefer": "wait=20"}
    assert shop.send("POST", "order", "/orders", order, headers).json()["status"] == "CONFIRMED"
    for topic in ("stock-adjustment", "payment-capture", "order-confirmation", "tcc-outcomes"):
        sent = [record.header("traceparent") for record in shop.broker.records(topic)]
        assert any(one is not None and trace.encode() in one for one in sent), topic


@pytest.mark.parametrize(
    "value", ["x", "1", '"', 'W/"', '""', "*,*", '"*"', "\xff", '"1" "2"', '"9999999"', ","]
)
def test_a_precondition_that_names_no_version_is_412(shop: Programs, value: str) -> None:
    changed = shop.send("PUT", "stock", "/products/headers", {"name": "other"}, {"If-Match": value})
    assert changed.told == (412, "precondition-failed")
    assert shop.read("stock", "/products/headers")["name"] == "headers"


def test_headers_that_nobody_asked_for_change_nothing(shop: Programs) -> None:
    odd = [("X-" + "a" * 200, "b" * 2_000)] * 20 + [
        ("Cookie", "a=b"),
        ("Authorization", "Bearer x"),
        ("Accept", "a/b"),
    ]
    odd += [
        ("X-HTTP-Method-Override", "DELETE"),
        ("Forwarded", "for=1.2.3.4"),
        ("Range", "bytes=0-1"),
        ("TE", "x"),
    ]
    odd += [
        ("Connection", "upgrade"),
        ("Upgrade", "websocket"),
        ("Accept-Language", "\xff"),
        ("Referer", "\x80"),
    ]
    for program in shop.ports:
        answer = shop.send("GET", program, "/dead-letters", headers=odd)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")


def test_the_deadline_of_a_strange_transaction_ends_by_inquiry(shop: Programs) -> None:
    """Dots are an id, and must not be understood as steps in the address that is asked."""
    for number, transaction_id in enumerate((".", "..", "...", "~")):
        headers = tcc(transaction_id, f"dots-{number}", instant(0.3))
        assert reserve(shop, "stock", headers).status == 201

        def ended(number: int = number) -> bool:
            return bool(shop.read("stock", f"/stocks/dots-{number}")["state"] == "CANCELLED")

        eventually(ended, f"the branch of transaction {transaction_id} ends", 10)
