"""Outcomes that are not certain in time, overload, a broker that is away: each has its answer."""

import socket
from collections.abc import Iterator
from typing import Any, Final

import pytest

from shared.http import guard
from tests.backing import Backing
from tests.e2e.waiting import eventually
from tests.integration.hostile.programs import Programs, running
from tests.integration.hostile.wire import raw
from tests.simulation.programs import PROGRAMS

ORDER: Final[dict[str, Any]] = {"customerId": "c", "productId": "p", "qty": 1, "paymentAmt": 5}


@pytest.fixture(scope="module")
def slow(backing: Backing) -> Iterator[Programs]:
    """The coordinator finds a payment service that takes every connection and never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(100)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        patience: dict[str, Any] = {
            "order_patience_seconds": 0.5,
            "order_call_seconds": 0.3,
            "order_grace_seconds": 0.2,
        }
        limits: dict[str, Any] = {
            "transaction_timeout_seconds": 3,
            "try_timeout_seconds": 0.5,
            "sweep_seconds": 0.2,
        }
        with running(backing, payment_url=url, max_orders_in_flight=1, **patience, **limits) as programs:
            programs.send("PUT", "stock", "/products/p", {"onHand": 10})
            yield programs


def test_an_undecided_order_is_202_until_it_is_decided(slow: Programs) -> None:
    body = ORDER | {"orderId": "slow"}
    for _ in range(2):
        pending = slow.send("POST", "order", "/orders", body, {"Idempotency-Key": "slow"})
        assert (pending.status, pending.json()["status"]) == (202, "PENDING")
        assert int(pending.headers["retry-after"]) >= 1
        assert pending.headers["location"] == "/api/v1/orders/slow"
    assert slow.send("PUT", "order", "/orders/slow").told == (409, "order-not-held")
    assert slow.send("DELETE", "order", "/orders/slow").told == (409, "order-not-held")

    def released() -> bool:
        return bool(slow.read("stock", "/products/p")["held"] == 0)

    eventually(released, "the deadline passes and the goods are released")
    refused = slow.send("POST", "order", "/orders", body)
    assert refused.told == (409, "order-cancelled")
    assert slow.read("order", "/orders/slow")["reason"] == "transaction-expired"


def test_an_uncertain_payment_is_202_and_a_later_put_joins_it(slow: Programs) -> None:
    body = ORDER | {"orderId": "paying", "hold": {"seconds": 4}}
    assert slow.send("POST", "order", "/orders", body).status == 201
    for _ in range(2):
        paying = slow.send("PUT", "order", "/orders/paying")
        assert (paying.status, paying.json()["status"]) == (202, "HELD")
        assert int(paying.headers["retry-after"]) >= 1
    transaction = slow.read("order", "/orders/paying")["transactionId"]
    branches = slow.read("coordinator", f"/transactions/{transaction}")["branches"]
    assert [one["participant"] for one in branches].count("payment") == 1

    def expired() -> bool:
        return bool(slow.send("PUT", "order", "/orders/paying").told == (410, "reservation-expired"))

    eventually(expired, "the hold expires")


def test_an_undecided_transaction_is_202_and_a_repeat_joins_it(slow: Programs) -> None:
    branches = [
        {"participant": "stock", "claim": {"productId": "p", "qty": 1}},
        {"participant": "payment", "claim": {"paymentAmt": 1}},
    ]
    body = {"transactionId": "slow", "timeoutSeconds": 2, "branches": branches}
    answer = slow.send("POST", "coordinator", "/transactions", body)
    assert answer.told == (409, "transaction-expired")
    assert slow.send("POST", "coordinator", "/transactions", body).told == (409, "transaction-expired")
    shown = slow.read("coordinator", "/transactions/slow")
    assert (shown["state"], shown["reason"]) == ("CANCELLING", "transaction-expired")
    assert {one["participant"]: one["state"] for one in shown["branches"]}["payment"] == "CANCELLING"


def test_new_orders_are_shed_first_and_before_anything_is_written(slow: Programs) -> None:
    head = b"POST /api/v1/orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    head += b"Content-Length: 500\r\n\r\n"
    with socket.create_connection(("127.0.0.1", slow.ports["order"])) as connection:
        connection.sendall(head)

        def shed() -> bool:
            answer = slow.send(
                "POST", "order", "/orders", ORDER | {"orderId": "shed", "productId": "unheard-of"}
            )
            return (
                answer.status == 503
                and answer.slug == "overloaded"
                and int(answer.headers["retry-after"]) >= 1
            )

        eventually(shed, "the one place is taken")
        before = slow.read("order", "/orders?limit=500")["items"]
        assert slow.send("POST", "order", "/orders", ORDER | {"orderId": "shed-too"}).status == 503
        assert slow.read("order", "/orders?limit=500")["items"] == before
        protocol = {"TCC-Transaction-Id": "t"}
        assert slow.send("DELETE", "order", "/order-reservations/b", headers=protocol).status == 204
        for program in PROGRAMS:
            assert slow.send("GET", program, "//livez").status == 200


def test_a_body_that_does_not_come_gives_its_place_back(
    slow: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.3)
    head = b"POST /api/v1/orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n%b\r\n\r\n"
    for framing in (b"Content-Length: 500", b"Transfer-Encoding: chunked"):
        late = raw(slow.ports["order"], "POST", head % framing)
        assert late.told == (408, "request-timeout")
    refused = slow.send("POST", "order", "/orders", ORDER | {"productId": "unheard-of"})
    assert refused.told == (422, "unknown-product")


def test_readiness_tells_of_a_broker_that_is_away_and_liveness_does_not(slow: Programs) -> None:
    slow.broker.available = False
    try:
        for program in PROGRAMS:

            def not_ready(program: str = program) -> bool:
                answer = slow.send("GET", program, "//readyz")
                return (
                    answer.status == 503
                    and answer.slug == "not-ready"
                    and "consumer" in answer.json()["detail"]
                )

            eventually(not_ready, f"{program} tells that it is not ready")
            assert slow.send("GET", program, "//livez").status == 200
    finally:
        slow.broker.available = True
    for program in PROGRAMS:
        eventually(lambda program=program: slow.send("GET", program, "//readyz").status == 200, "ready again")  # type: ignore[misc]
