"""The coordinator's calls, as the contract's table has them, on the whole system."""

from typing import Any, Final

import pytest

from tests.e2e.waiting import eventually
from tests.integration.hostile.programs import Programs
from tests.integration.hostile.wire import Answer
from tests.simulation.programs import PROGRAMS

WAIT: Final = {"Prefer": "wait=20"}
STOCK: Final = {"participant": "stock", "claim": {"productId": "p", "qty": 1}}
PAYMENT: Final = {"participant": "payment", "claim": {"customerId": "c", "paymentAmt": 1}}
GREEDY: Final = {"participant": "payment", "claim": {"customerId": "c", "paymentAmt": 10**9}}


@pytest.fixture(scope="module")
def shop(programs: Programs) -> Programs:
    programs.send("PUT", "stock", "/products/p", {"onHand": 1_000})
    programs.send("PUT", "payment", "/accounts/c", {"balance": 1_000})
    return programs


def begin(programs: Programs, transaction_id: str, *branches: Any, **more: Any) -> Answer:
    body = {"transactionId": transaction_id, "branches": branches or [STOCK, PAYMENT], **more}
    return programs.send("POST", "coordinator", "/transactions", body, WAIT)


def manual(programs: Programs, transaction_id: str, *branches: Any, seconds: float = 600) -> Answer:
    return begin(programs, transaction_id, *branches or [STOCK], mode="manual", timeoutSeconds=seconds)


def call(programs: Programs, method: str, path: str, body: Any = None) -> Answer:
    headers = {} if method == "POST" else WAIT
    return programs.send(method, "coordinator", f"/transactions/{path}", body, headers)


def state(programs: Programs, transaction_id: str) -> str:
    shown: str = programs.read("coordinator", f"/transactions/{transaction_id}")["state"]
    return shown


def held(programs: Programs) -> tuple[int, int]:
    return (
        programs.read("stock", "/products/p")["held"],
        programs.read("payment", "/accounts/c")["held"],
    )


def test_a_transaction_is_decided_shown_and_settled(shop: Programs) -> None:
    begun = begin(shop, "auto", initiator="stock")
    assert (begun.status, begun.headers["location"]) == (201, "/api/v1/transactions/auto")
    shown = begun.json()
    fields = {"transactionId", "state", "mode", "deadline", "attention", "branches", "createdAt", "updatedAt"}
    assert fields <= set(shown)
    assert (shown["state"], shown["mode"], shown["attention"]) == ("CONFIRMED", "auto", None)
    for branch in shown["branches"]:
        assert {"branchId", "participant", "state", "attempts", "lastError"} <= set(branch)
        assert branch["state"] == "CONFIRMED"
    assert shop.read("coordinator", "/transactions/auto") == shown
    events = shop.read("coordinator", "/transactions/auto/events")["items"]
    assert all({"at", "event"} <= set(event) for event in events)
    settled = [event for event in events if event["event"] == "outcome"]
    assert [event["participant"] for event in settled] == ["payment", "stock"], "the initiator settles last"


def test_the_same_id_and_body_joins_and_another_body_is_refused(shop: Programs) -> None:
    first = begin(shop, "joined")
    again = begin(shop, "joined")
    assert (first.status, again.status) == (201, 200)
    assert again.json() == first.json()
    assert begin(shop, "joined", STOCK).told == (422, "transaction-id-reused")
    assert begin(shop, "joined", timeoutSeconds=5).told == (422, "transaction-id-reused")


def test_a_refusal_is_told_with_the_branchs_problem(shop: Programs) -> None:
    before = held(shop)
    for _ in range(2):
        refused = begin(shop, "refused", STOCK, GREEDY)
        assert refused.told == (409, "payment-declined")
        assert refused.json()["participant"] == "payment"
        assert refused.json()["branchProblem"]["status"] == 402
    eventually(lambda: state(shop, "refused") == "CANCELLED", "it is cancelled everywhere")
    assert held(shop) == before
    assert shop.read("coordinator", "/transactions/refused")["reason"] == "payment-declined"


@pytest.mark.parametrize(
    ("more", "slug"),
    [
        ({"branches": [{"participant": "nobody", "claim": {}}]}, "unknown-participant"),
        ({"branches": [{"participant": "http://127.0.0.1:1", "claim": {}}]}, "invalid-request"),
        ({"branches": [STOCK, STOCK]}, "invalid-request"),
        ({"branches": [STOCK], "initiator": "payment"}, "invalid-request"),
        ({"branches": [STOCK], "initiator": "nobody"}, "invalid-request"),
        ({"branches": [{**STOCK, "url": "http://127.0.0.1:1"}]}, "invalid-request"),
        ({"branches": [STOCK] * 21}, "invalid-request"),
    ],
)
def test_what_is_no_transaction_is_refused_before_anything_is_tried(
    shop: Programs, more: dict[str, Any], slug: str
) -> None:
    before = shop.read("coordinator", "/transactions?limit=500"), shop.read("stock", "/stocks?limit=500")
    assert shop.send("POST", "coordinator", "/transactions", more).told == (422, slug)
    assert (
        shop.read("coordinator", "/transactions?limit=500"),
        shop.read("stock", "/stocks?limit=500"),
    ) == before


def test_a_manual_transaction_waits_and_is_confirmed(shop: Programs) -> None:
    tried = manual(shop, "manual")
    assert (tried.status, tried.json()["state"]) == (201, "TRIED")
    added = call(shop, "POST", "manual/branches", PAYMENT)
    assert added.status == 201
    joined = call(shop, "POST", "manual/branches", PAYMENT)
    assert (joined.status, joined.json()["branches"]) == (200, added.json()["branches"])
    other = {"participant": "payment", "claim": {"customerId": "c", "paymentAmt": 2}}
    assert call(shop, "POST", "manual/branches", other).told == (409, "branch-open")
    confirmed = call(shop, "PUT", "manual")
    assert (confirmed.status, confirmed.json()["state"]) == (200, "CONFIRMED")
    assert call(shop, "PUT", "manual").status == 200
    assert call(shop, "DELETE", "manual").told == (409, "transaction-confirmed")
    assert call(shop, "POST", "manual/branches", PAYMENT).told == (409, "transaction-confirmed")


def test_a_branch_that_is_refused_is_closed_and_the_transaction_stays_tried(shop: Programs) -> None:
    manual(shop, "closed")
    for _ in range(2):
        assert call(shop, "POST", "closed/branches", GREEDY).told == (409, "payment-declined")
        assert state(shop, "closed") == "TRIED"
    assert call(shop, "POST", "closed/branches", PAYMENT).status == 201
    unknown = {"participant": "nobody", "claim": {}}
    assert call(shop, "POST", "closed/branches", unknown).told == (422, "unknown-participant")
    assert call(shop, "PUT", "closed").json()["state"] == "CONFIRMED"


def test_a_manual_transaction_is_cancelled(shop: Programs) -> None:
    before = held(shop)
    manual(shop, "dropped", STOCK, PAYMENT)
    for _ in range(2):
        assert call(shop, "DELETE", "dropped").told == (204, "")
    assert state(shop, "dropped") == "CANCELLED"
    assert held(shop) == before
    assert call(shop, "PUT", "dropped").told == (409, "transaction-cancelled")
    assert call(shop, "POST", "dropped/branches", PAYMENT).told == (409, "transaction-cancelled")


def test_a_manual_transaction_expires(shop: Programs) -> None:
    before = held(shop)
    manual(shop, "expired", seconds=0.5)
    eventually(lambda: state(shop, "expired") == "CANCELLED", "its deadline passes")
    assert call(shop, "PUT", "expired").told == (410, "transaction-expired")
    assert call(shop, "POST", "expired/branches", PAYMENT).told == (410, "transaction-expired")
    assert call(shop, "DELETE", "expired").told == (204, "")
    assert held(shop) == before


def test_only_manual_transactions_take_branches_and_decisions(shop: Programs) -> None:
    begin(shop, "own")
    assert call(shop, "POST", "own/branches", PAYMENT).told == (409, "transaction-not-manual")
    assert call(shop, "DELETE", "own").told == (409, "transaction-confirmed")
    begin(shop, "own-refused", GREEDY)
    assert call(shop, "PUT", "own-refused").told[0] == 409


def test_inquiries_tell_the_decision(shop: Programs) -> None:
    begin(shop, "asked")
    told = call(shop, "POST", "asked/inquiries").json()
    assert (told["decision"], told["state"]) == ("confirm", "CONFIRMED")
    assert "deadline" in told
    manual(shop, "waiting")
    assert call(shop, "POST", "waiting/inquiries").json()["decision"] == "wait"
    begin(shop, "asked-refused", GREEDY)
    told = call(shop, "POST", "asked-refused/inquiries").json()
    assert (told["decision"], told["reason"]) == ("cancel", "payment-declined")
    stranger = call(shop, "POST", "asked/inquiries", {"branchId": "never-was"}).json()
    assert stranger["decision"] == "cancel"


def test_an_id_that_an_inquiry_cancelled_stays_cancelled(shop: Programs) -> None:
    told = call(shop, "POST", "unheard-of/inquiries").json()
    assert (told["decision"], told["state"]) == ("cancel", "CANCELLED")
    assert begin(shop, "unheard-of").told == (409, "transaction-cancelled")
    assert state(shop, "unheard-of") == "CANCELLED"


def test_a_retry_drives_it_now_and_changes_no_decision(shop: Programs) -> None:
    begin(shop, "hurried")
    retried = call(shop, "POST", "hurried/retries")
    assert (retried.status, retried.json()["state"]) == (202, "CONFIRMED")
    manual(shop, "hurried-manual")
    assert call(shop, "POST", "hurried-manual/retries").json()["state"] == "TRIED"
    assert call(shop, "POST", "never-was/retries").told == (404, "unknown-transaction")


def test_transactions_are_listed_by_state_and_attention(shop: Programs) -> None:
    manual(shop, "listed")
    begin(shop, "listed-auto")
    tried = shop.read("coordinator", "/transactions?state=TRIED&limit=500")["items"]
    assert "listed" in [one["transactionId"] for one in tried]
    assert {one["state"] for one in tried} == {"TRIED"}
    assert shop.read("coordinator", "/transactions?attention=true")["items"] == []
    assert shop.read("coordinator", "/transactions?attention=false")["items"]


def test_the_participants_are_named_with_their_health_and_transport(shop: Programs) -> None:
    listed = shop.read("coordinator", "/participants")["items"]
    assert {one["name"]: (one["confirm"], one["health"]) for one in listed} == {
        "order": ("kafka:order-confirmation", "up"),
        "stock": ("kafka:stock-adjustment", "up"),
        "payment": ("kafka:payment-capture", "up"),
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_has_its_operations_pages(shop: Programs, program: str) -> None:
    for path in ("//livez", "//readyz"):
        assert shop.send("GET", program, path).status == 200
    metrics = shop.send("GET", program, "//metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert b"# TYPE" in metrics.body
    assert shop.send("GET", program, "//docs").headers["content-type"].startswith("text/html")
    described = shop.send("GET", program, "//openapi.json")
    assert described.json()["openapi"].startswith("3.")
    assert shop.read(program, "/dead-letters") == {"items": [], "nextCursor": None}
