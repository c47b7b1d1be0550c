"""The participant contract over HTTP, as a coordinator of any make would use it."""

from typing import Any, Final

import pytest

from tests.integration.hostile.programs import Programs
from tests.integration.hostile.seeds import instant
from tests.integration.hostile.wire import Answer

BODIES: Final[dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]]] = {
    "stock": (
        "/stocks",
        {"productId": "p", "qty": 1},
        {"productId": "p", "qty": 2},
        {"productId": "p", "qty": 10**9},
    ),
    "payment": (
        "/payments",
        {"customerId": "c", "paymentAmt": 1},
        {"customerId": "c", "paymentAmt": 2},
        {"customerId": "c", "paymentAmt": 10**9},
    ),
}
every_participant = pytest.mark.parametrize("name", BODIES)


@pytest.fixture(scope="module")
def shop(programs: Programs) -> Programs:
    programs.send("PUT", "stock", "/products/p", {"onHand": 100})
    programs.send("PUT", "payment", "/accounts/c", {"balance": 100})
    return programs


class Caller:
    """A coordinator's calls to one participant about one branch."""

    def __init__(self, programs: Programs, name: str, branch_id: str) -> None:
        self.path, self.claim, self.other_claim, self.greedy_claim = BODIES[name]
        self._programs, self._name, self._branch_id = programs, name, branch_id
        self._deadline = instant()

    def try_(self, claim: Any = None, transaction_id: str = "t", deadline: str | None = None) -> Answer:
        headers = {
            "TCC-Transaction-Id": transaction_id,
            "TCC-Branch-Id": self._branch_id,
            "TCC-Deadline": deadline or self._deadline,
        }
        return self._programs.send("POST", self._name, self.path, claim or self.claim, headers)

    def confirm(self, transaction_id: str | None = "t") -> tuple[int, str]:
        return self._decide("PUT", transaction_id)

    def cancel(self, transaction_id: str | None = "t") -> tuple[int, str]:
        return self._decide("DELETE", transaction_id)

    def show(self) -> Any:
        return self._programs.read(self._name, f"{self.path}/{self._branch_id}")

    def _decide(self, method: str, transaction_id: str | None) -> tuple[int, str]:
        headers = (
            {} if transaction_id is None else {"TCC-Transaction-Id": transaction_id, "TCC-Reason": "why"}
        )
        return self._programs.send(method, self._name, f"{self.path}/{self._branch_id}", headers=headers).told


@every_participant
def test_a_try_takes_its_id_from_the_branch_and_repeats_change_nothing(shop: Programs, name: str) -> None:
    caller = Caller(shop, name, "repeated")
    tried = caller.try_()
    assert tried.status == 201
    assert tried.json()["id"] == "repeated"
    assert tried.json()["uri"] == tried.headers["location"]
    assert {"id", "uri", "expires"} <= set(tried.json())
    assert caller.try_().json() == tried.json()
    for _ in range(2):
        assert caller.confirm() == (204, "")
    assert caller.try_().status == 201
    assert caller.show()["state"] == "CONFIRMED"
    assert caller.cancel() == (409, "reservation-confirmed")
    assert caller.show()["transactionId"] == "t"


@every_participant
def test_a_cancel_is_repeated_and_never_confirmed(shop: Programs, name: str) -> None:
    caller = Caller(shop, name, "cancelled")
    assert caller.try_().status == 201
    for _ in range(2):
        assert caller.cancel() == (204, "")
    assert caller.confirm() == (409, "reservation-cancelled")
    assert caller.try_().told == (409, "reservation-cancelled")
    assert (caller.show()["state"], caller.show()["reason"]) == ("CANCELLED", "why")


@every_participant
def test_a_cancel_before_its_try_refuses_the_late_try(shop: Programs, name: str) -> None:
    caller = Caller(shop, name, "entombed")
    for _ in range(2):
        assert caller.cancel() == (204, "")
    assert caller.try_().told == (409, "cancelled-before-try")
    assert caller.confirm() == (409, "reservation-cancelled")
    assert caller.show()["state"] == "CANCELLED"


@every_participant
def test_a_branch_belongs_to_one_body_and_one_transaction(shop: Programs, name: str) -> None:
    caller = Caller(shop, name, "owned")
    assert caller.try_().status == 201
    assert caller.try_(caller.other_claim).told == (409, "branch-id-reused")
    assert caller.try_(transaction_id="other").told == (409, "branch-id-reused")
    assert caller.confirm("other") == (409, "branch-id-reused")
    assert caller.cancel("other") == (409, "branch-id-reused")
    assert caller.confirm(None) == (409, "owned-by-transaction")
    assert caller.cancel(None) == (409, "owned-by-transaction")
    assert caller.show()["state"] == "TRIED"


@every_participant
def test_a_try_past_its_deadline_is_refused(shop: Programs, name: str) -> None:
    caller = Caller(shop, name, "late")
    assert caller.try_(deadline=instant(-40)).told == (410, "reservation-expired")
    # The refusal is kept, so that a clock that is set back doesn't make it a hold.
    assert shop.send("GET", name, f"{caller.path}/late").json()["state"] == "CANCELLED"
    assert caller.confirm() == (409, "reservation-cancelled")
    # Within the skew allowance (30 s) it is taken: whose clock is right is not known.
    assert Caller(shop, name, "skewed").try_(deadline=instant(-5)).status == 201


@every_participant
def test_a_refused_try_stays_refused(shop: Programs, name: str) -> None:
    caller = Caller(shop, name, "greedy")
    refused = caller.try_(caller.greedy_claim)
    assert refused.told in ((409, "insufficient-stock"), (402, "payment-declined"))
    assert caller.try_(caller.greedy_claim).json() == refused.json()
    assert caller.cancel() == (204, "")
    assert caller.confirm() == (409, "reservation-cancelled")


@every_participant
def test_seconds_are_not_for_a_transactions_try(shop: Programs, name: str) -> None:
    caller = Caller(shop, name, "seconds")
    assert caller.try_({**caller.claim, "seconds": 60}).told == (422, "invalid-request")


def test_an_order_is_reserved_within_its_own_transaction_only(shop: Programs) -> None:
    alone = shop.send("POST", "order", "/order-reservations", {"orderId": "o"})
    assert alone.told == (422, "transaction-required")
    headers = {"TCC-Transaction-Id": "t", "TCC-Branch-Id": "b", "TCC-Deadline": instant()}
    strange = shop.send("POST", "order", "/order-reservations", {"orderId": "o"}, headers)
    assert strange.told == (422, "unknown-order")
    body = {"customerId": "c", "productId": "p", "qty": 1, "paymentAmt": 1, "orderId": "o"}
    assert shop.send("POST", "order", "/orders", body, {"Prefer": "wait=20"}).status == 201
    [own] = [one for one in shop.read("order", "/order-reservations")["items"] if one["state"] == "CONFIRMED"]
    assert own["orderId"] == "o"
    theirs = f"/order-reservations/{own['id']}"
    assert shop.send("PUT", "order", theirs).told == (409, "owned-by-transaction")
    assert shop.send("DELETE", "order", theirs).told == (409, "owned-by-transaction")
    assert (
        shop.send("PUT", "order", theirs, headers={"TCC-Transaction-Id": own["transactionId"]}).status == 204
    )
    other = {"TCC-Transaction-Id": "other"}
    assert shop.send("DELETE", "order", theirs, headers=other).told == (409, "branch-id-reused")
