"""Accounts, payments and refunds, as the contract's table has them, on the whole system."""

from typing import Any, Final

from tests.e2e.waiting import eventually
from tests.integration.hostile.programs import Programs
from tests.integration.hostile.wire import Answer

WAIT: Final = {"Prefer": "wait=20"}
ACCOUNT: Final = ["customerId", "balance", "held", "available", "captured", "refunded"]


def open_account(programs: Programs, customer_id: str, balance: int) -> Answer:
    return programs.send("PUT", "payment", f"/accounts/{customer_id}", {"balance": balance})


def account(programs: Programs, customer_id: str) -> tuple[int, int, int, int]:
    """Return balance, held, captured and refunded; what is available must be what the contract says."""
    shown = programs.read("payment", f"/accounts/{customer_id}")
    assert sorted(shown) == sorted(ACCOUNT)
    assert shown["available"] == shown["balance"] - shown["held"]
    return shown["balance"], shown["held"], shown["captured"], shown["refunded"]


def pay(programs: Programs, customer_id: str, amount: int, **more: Any) -> Answer:
    body = {"customerId": customer_id, "paymentAmt": amount, **more}
    return programs.send("POST", "payment", "/payments", body)


def captured(programs: Programs, customer_id: str, amount: int) -> str:
    """Authorise and capture a payment; return its path."""
    path = f"/payments/{pay(programs, customer_id, amount).json()['id']}"
    assert programs.send("PUT", "payment", path, headers=WAIT).status == 204
    return path


def test_an_account_is_opened_then_set(programs: Programs) -> None:
    assert open_account(programs, "set", 100).status == 201
    assert open_account(programs, "set", 50).status == 200
    assert account(programs, "set") == (50, 0, 0, 0)
    pay(programs, "set", 30)
    assert open_account(programs, "set", 29).told == (409, "below-held")
    assert open_account(programs, "set", 30).status == 200


def test_a_payment_is_authorised_captured_and_refunded(programs: Programs) -> None:
    open_account(programs, "payer", 100)
    made = pay(programs, "payer", 60, orderId="o")
    shown = made.json()
    assert (made.status, made.headers["location"]) == (201, shown["uri"])
    assert (shown["state"], shown["paymentAmt"], shown["customerId"]) == ("TRIED", 60, "payer")
    assert account(programs, "payer") == (100, 60, 0, 0)
    path = f"/payments/{shown['id']}"
    accepted = programs.send("PUT", "payment", path)
    assert (accepted.status, accepted.json()["state"]) == (202, "CONFIRMING")
    assert programs.send("DELETE", "payment", path).status == 409
    eventually(lambda: programs.read("payment", path)["state"] == "CONFIRMED", "the capture arrives")
    assert programs.send("PUT", "payment", path).status == 204
    assert account(programs, "payer") == (40, 0, 60, 0)
    some = programs.send("POST", "payment", f"{path}/refunds", {"amount": 20, "reason": "broken"})
    assert (some.status, some.json()["amount"]) == (201, 20)
    too_much = programs.send("POST", "payment", f"{path}/refunds", {"amount": 41, "reason": "greed"})
    assert too_much.told == (409, "refund-exceeds-capture")
    rest = programs.send("POST", "payment", f"{path}/refunds", {"reason": "the rest"})
    assert (rest.status, rest.json()["amount"]) == (201, 40)
    nothing = programs.send("POST", "payment", f"{path}/refunds", {"reason": "again"})
    assert nothing.told == (409, "refund-exceeds-capture")
    assert account(programs, "payer") == (100, 0, 60, 60)
    assert [one["amount"] for one in programs.read("payment", f"{path}/refunds")["items"]] == [20, 40]


def test_a_refund_with_a_key_is_given_once(programs: Programs) -> None:
    open_account(programs, "keyed", 100)
    path = f"{captured(programs, 'keyed', 10)}/refunds"
    key = {"Idempotency-Key": "k"}
    body = {"amount": 4, "reason": "r"}
    answers = [programs.send("POST", "payment", path, body, key) for _ in range(3)]
    assert [one.status for one in answers] == [201, 200, 200]
    assert answers[0].json() == answers[2].json()
    other = programs.send("POST", "payment", path, {"amount": 5, "reason": "r"}, key)
    assert other.told == (422, "idempotency-key-reused")
    greedy = {"amount": 100, "reason": "r"}
    refusals = [programs.send("POST", "payment", path, greedy, {"Idempotency-Key": "l"}) for _ in range(2)]
    assert refusals[0].told == (409, "refund-exceeds-capture")
    assert refusals[1].json() == refusals[0].json()
    assert account(programs, "keyed") == (94, 0, 10, 4)


def test_only_what_was_captured_is_refunded(programs: Programs) -> None:
    open_account(programs, "early", 100)
    held = f"/payments/{pay(programs, 'early', 10).json()['id']}"
    refund = {"reason": "r"}
    assert programs.send("POST", "payment", f"{held}/refunds", refund).told == (409, "payment-not-captured")
    assert programs.send("DELETE", "payment", held).status == 204
    assert programs.send("POST", "payment", f"{held}/refunds", refund).told == (409, "payment-not-captured")
    assert programs.send("PUT", "payment", held).told == (410, "reservation-cancelled")
    assert account(programs, "early") == (100, 0, 0, 0)


def test_money_that_is_not_there_is_declined(programs: Programs) -> None:
    open_account(programs, "poor", 10)
    assert pay(programs, "poor", 11).told == (402, "payment-declined")
    assert pay(programs, "unheard-of", 0).told == (402, "payment-declined")
    assert pay(programs, "poor", 9_007_199_254_740_991).told == (402, "payment-declined")
    assert pay(programs, "poor", 10).status == 201
    assert pay(programs, "poor", 1).told == (402, "payment-declined")
    assert pay(programs, "poor", 0).status == 201
    assert account(programs, "poor") == (10, 10, 0, 0)


def test_a_payment_expires_by_itself(programs: Programs) -> None:
    open_account(programs, "idle", 10)
    path = f"/payments/{pay(programs, 'idle', 10, seconds=1).json()['id']}"
    eventually(lambda: programs.read("payment", path)["state"] == "CANCELLED", "it expires")
    assert programs.send("PUT", "payment", path).told == (410, "reservation-expired")
    assert account(programs, "idle") == (10, 0, 0, 0)


def test_the_largest_amounts_are_counted_exactly(programs: Programs) -> None:
    most = 9_007_199_254_740_991
    assert open_account(programs, "rich", most).status == 201
    captured(programs, "rich", most)
    assert account(programs, "rich") == (0, 0, most, 0)
    assert open_account(programs, "rich", 1).told == (409, "too-much-money")
    assert account(programs, "rich") == (0, 0, most, 0)
