"""A customer sees and touches what is his own, and a participant speaks for its own branches only."""

from typing import Any

import pytest

from tests.integration.hostile.programs import Programs
from tests.integration.security.bearers import customer, operator, service

ANN, BOB = customer("ann"), customer("bob")
STOCK, PAYMENT, ORDER, COORDINATOR = map(service, ("stock", "payment", "order", "coordinator"))


@pytest.fixture(scope="module", autouse=True)
def goods(programs: Programs) -> None:
    """A product, accounts and a drop, as an operator makes them."""
    for program, path, body in (
        ("stock", "/products/p", {"onHand": 1_000}),
        ("payment", "/accounts/ann", {"balance": 10_000}),
        ("payment", "/accounts/bob", {"balance": 10_000}),
        ("stock", "/drops/d", {"quantity": 10}),
    ):
        assert programs.send("PUT", program, path, body, operator()).status == 201


def order(programs: Programs, bearer: dict[str, str], **more: Any) -> Any:
    body = {"productId": "p", "qty": 1, "paymentAmt": 1, **more}
    return programs.send("POST", "order", "/orders", body, {**bearer, "Prefer": "wait=10"})


def test_an_order_is_its_customers_own(programs: Programs) -> None:
    placed = order(programs, ANN, orderId="own-1")
    assert (placed.status, placed.json()["customerId"], placed.json()["status"]) == (201, "ann", "CONFIRMED")
    assert programs.send("GET", "order", "/orders/own-1", headers=ANN).status == 200
    for method in ("GET", "PUT", "DELETE"):
        assert programs.send(method, "order", "/orders/own-1", headers=BOB).told == (404, "unknown-order")
    assert programs.send("GET", "order", "/orders/own-1", headers=operator()).status == 200


def test_nobody_orders_for_another(programs: Programs) -> None:
    assert order(programs, ANN, customerId="bob").told == (403, "forbidden")
    assert order(programs, operator(), customerId="bob", orderId="own-2").json()["customerId"] == "bob"
    assert programs.send("GET", "order", "/orders/own-2", headers=BOB).status == 200


def test_a_held_order_is_paid_and_called_off_by_its_customer_only(programs: Programs) -> None:
    for number, ending in ((3, "PUT"), (4, "DELETE")):
        path = f"/orders/own-{number}"
        assert order(programs, ANN, orderId=f"own-{number}", hold={"seconds": 60}).json()["status"] == "HELD"
        assert programs.send(ending, "order", path, headers=BOB).status == 404
        assert programs.send("GET", "order", path, headers=ANN).json()["status"] == "HELD"
        assert programs.send(ending, "order", path, headers=ANN).status in (200, 204)


def test_lists_show_a_customer_his_own(programs: Programs) -> None:
    order(programs, BOB, orderId="own-5")
    for query in ("", "?customerId=bob"):
        items = programs.send("GET", "order", f"/orders{query}", headers=BOB).json()["items"]
        assert {one["customerId"] for one in items} == {"bob"}
    assert programs.send("GET", "order", "/orders?customerId=ann", headers=BOB).json()["items"] == []
    everybody = programs.send("GET", "order", "/orders", headers=operator()).json()["items"]
    assert {one["customerId"] for one in everybody} == {"ann", "bob"}


def test_an_idempotency_key_is_its_customers_own(programs: Programs) -> None:
    keyed = {"Idempotency-Key": "same"}
    first, again, other = (order(programs, {**who, **keyed}) for who in (ANN, ANN, BOB))
    assert first.json()["orderId"] == again.json()["orderId"] != other.json()["orderId"]
    assert other.json()["customerId"] == "bob"


@pytest.mark.parametrize(
    ("program", "collection", "wanted"),
    [("stock", "/stocks", {"productId": "p", "qty": 1}), ("payment", "/payments", {"paymentAmt": 1})],
)
def test_a_reservation_is_its_customers_own(
    programs: Programs, program: str, collection: str, wanted: Any
) -> None:
    made = programs.send("POST", program, collection, wanted, ANN)
    assert (made.status, made.json()["customerId"]) == (201, "ann")
    path = f"{collection}/{made.json()['id']}"
    for method in ("GET", "PUT", "DELETE"):
        assert programs.send(method, program, path, headers=BOB).status == 404
        assert programs.send(method, program, path, headers=PAYMENT).status == 403
    another = programs.send("POST", program, collection, {**wanted, "customerId": "ann"}, BOB)
    assert another.told == (403, "forbidden")
    assert programs.send("GET", program, path, headers=ANN).json()["state"] == "TRIED"
    assert programs.send("DELETE", program, path, headers=ANN).status == 204


def test_an_account_is_read_by_its_customer_and_changed_by_an_operator(programs: Programs) -> None:
    assert programs.send("GET", "payment", "/accounts/ann", headers=ANN).status == 200
    assert programs.send("GET", "payment", "/accounts/ann", headers=BOB).status == 404
    changed = programs.send("PUT", "payment", "/accounts/ann", {"balance": 10**9}, ANN)
    assert changed.told == (403, "forbidden")


def test_a_claim_is_its_customers_own(programs: Programs) -> None:
    assert programs.send("POST", "stock", "/drops/d/claims", {"customerId": "ann"}, ANN).status == 202
    stolen = programs.send("POST", "stock", "/drops/d/claims", {"customerId": "ann"}, BOB)
    assert stolen.told == (403, "forbidden")
    assert programs.send("GET", "stock", "/drops/d/claims/ann", headers=ANN).status == 200
    assert programs.send("GET", "stock", "/drops/d/claims/ann", headers=BOB).told == (404, "unknown-claim")
    assert programs.send("GET", "stock", "/drops/d/claims", headers=BOB).json()["items"] == []
    assert len(programs.send("GET", "stock", "/drops/d/claims", headers=ANN).json()["items"]) == 1


def test_only_the_coordinator_tries_confirms_and_cancels_a_branch(programs: Programs) -> None:
    branch = {"TCC-Transaction-Id": "t-1", "TCC-Branch-Id": "b-1", "TCC-Deadline": "2099-01-01T00:00:00Z"}
    claim = {"productId": "p", "qty": 1, "customerId": "ann"}
    for other in (ANN, STOCK, ORDER, operator()):
        tried = programs.send("POST", "stock", "/stocks", claim, {**other, **branch})
        assert tried.told == (403, "forbidden")
    assert programs.send("POST", "stock", "/stocks", claim, {**COORDINATOR, **branch}).status == 201
    assert programs.send("GET", "stock", "/stocks/b-1", headers=ANN).json()["state"] == "TRIED"
    for method in ("PUT", "DELETE"):
        for other in (ANN, STOCK, ORDER, operator()):
            refused = programs.send(method, "stock", "/stocks/b-1", headers={**other, **branch})
            assert refused.told == (403, "forbidden")
    assert programs.send("DELETE", "stock", "/stocks/b-1", headers={**COORDINATOR, **branch}).status == 204


def test_a_participant_asks_about_its_own_branches_only(programs: Programs) -> None:
    transaction_id = order(programs, ANN, orderId="own-6").json()["transactionId"]
    path = f"/transactions/{transaction_id}"
    branches = programs.send("GET", "coordinator", path, headers=operator()).json()["branches"]
    ids = {one["participant"]: one["branchId"] for one in branches}
    ask = f"{path}/inquiries"
    assert programs.send("POST", "coordinator", ask, {"branchId": ids["stock"]}, STOCK).status == 200
    others = programs.send("POST", "coordinator", ask, {"branchId": ids["payment"]}, STOCK)
    assert others.told == (403, "forbidden")
    assert programs.send("POST", "coordinator", ask, {}, service("seats")).told == (403, "forbidden")
    assert programs.send("GET", "coordinator", path, headers=STOCK).status == 200
    assert programs.send("GET", "coordinator", path, headers=service("seats")).status == 404


def test_only_its_initiator_begins_and_decides_a_transaction(programs: Programs) -> None:
    claim = {"participant": "stock", "claim": {"productId": "p", "qty": 1}}
    held = {"transactionId": "held-1", "mode": "manual", "branches": [claim], "timeoutSeconds": 60}
    assert programs.send("POST", "coordinator", "/transactions", held, STOCK).slug == "initiator-required"
    another = programs.send("POST", "coordinator", "/transactions", {**held, "initiator": "stock"}, ORDER)
    assert another.told == (403, "forbidden")
    own = programs.send("POST", "coordinator", "/transactions", {**held, "initiator": "stock"}, STOCK)
    assert (own.status, own.json()["state"]) == (201, "TRIED")
    for method, path, body in (
        ("PUT", "", None),
        ("DELETE", "", None),
        ("POST", "/branches", {"participant": "payment", "claim": {"paymentAmt": 1}}),
    ):
        decided = programs.send(method, "coordinator", f"/transactions/held-1{path}", body, ORDER)
        assert decided.told == (404, "unknown-transaction")
    assert programs.send("DELETE", "coordinator", "/transactions/held-1", headers=STOCK).status == 204
