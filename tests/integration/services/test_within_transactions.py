"""Stock and payment as participants: tried, confirmed and cancelled under a transaction's headers."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.tcc.confirmations import OUTCOMES, confirm_message
from tests.integration.services.conftest import Machine, Service, slug

STOCKS, BRANCH = "/api/v1/stocks", "/api/v1/stocks/branch"
MINE = {"tcc-transaction-id": "tx"}


@pytest.fixture
async def tried(stock: Service) -> None:
    """Branch `branch` of transaction `tx` holds two of ten units of p."""
    await stock.client.put("/api/v1/products/p", json={"onHand": 10})
    headers = stock.try_headers("tx", "branch")
    answer = await stock.client.post(STOCKS, json={"productId": "p", "qty": 2}, headers=headers)
    assert answer.status_code == 201
    assert answer.json()["id"] == "branch"
    assert answer.headers["location"].endswith(BRANCH)


async def counts(stock: Service) -> tuple[int, int, int]:
    product = await stock.json("/api/v1/products/p")
    return product["onHand"], product["held"], product["sold"]


@pytest.mark.usefixtures("tried")
async def test_a_coordinators_confirm_sells(stock: Service, machine: Machine) -> None:
    for _ in range(2):
        assert (await stock.client.put(BRANCH, headers=MINE)).status_code == 204
    assert await counts(stock) == (8, 0, 2)

    async def told_twice() -> bool:
        return len(machine.broker.records(OUTCOMES)) == 2

    await stock.until(told_twice)


@pytest.mark.usefixtures("tried")
async def test_a_confirm_over_kafka_sells_and_tells_the_coordinator(stock: Service, machine: Machine) -> None:
    message = confirm_message(
        "stock-adjustment",
        "p",
        reservation_id="branch",
        transaction_id="tx",
        decided_at=stock.clock.now(),
        source="coordinator",
    )
    publisher = machine.broker.publisher()
    assert await publisher.publish([message, message]) == [None, None]
    await stock.until_state(BRANCH, "CONFIRMED")
    assert await counts(stock) == (8, 0, 2)

    async def told() -> bool:
        return any(record.key == b"tx" for record in machine.broker.records(OUTCOMES))

    await stock.until(told)


@pytest.mark.usefixtures("tried")
async def test_a_coordinators_cancel_puts_back(stock: Service) -> None:
    for _ in range(2):
        assert (await stock.client.delete(BRANCH, headers=MINE)).status_code == 204
    assert await counts(stock) == (10, 0, 0)
    late = await stock.client.put(BRANCH, headers=MINE)
    assert (late.status_code, slug(late)) == (409, "reservation-cancelled")


@pytest.mark.usefixtures("tried")
async def test_nobody_else_decides_about_a_transactions_reservation(stock: Service) -> None:
    for call in (stock.client.put, stock.client.delete):
        refused = await call(BRANCH)
        assert (refused.status_code, slug(refused)) == (409, "owned-by-transaction")
    assert await counts(stock) == (10, 2, 0)


async def test_a_refused_try_is_refused_again_even_when_it_would_fit(stock: Service) -> None:
    await stock.client.put("/api/v1/products/p", json={"onHand": 1})
    headers, body = stock.try_headers("tx", "branch"), {"productId": "p", "qty": 2}
    first = await stock.client.post(STOCKS, json=body, headers=headers)
    await stock.client.put("/api/v1/products/p", json={"onHand": 5})
    again = await stock.client.post(STOCKS, json=body, headers=headers)
    assert [(each.status_code, slug(each)) for each in (first, again)] == [(409, "insufficient-stock")] * 2
    assert await counts(stock) == (5, 0, 0)


async def test_a_cancel_that_comes_first_keeps_the_late_try_out(stock: Service) -> None:
    await stock.client.put("/api/v1/products/p", json={"onHand": 5})
    assert (await stock.client.delete(BRANCH, headers=MINE)).status_code == 204
    late = await stock.client.post(
        STOCKS, json={"productId": "p", "qty": 2}, headers=stock.try_headers("tx", "branch")
    )
    assert (late.status_code, slug(late)) == (409, "cancelled-before-try")
    assert await counts(stock) == (5, 0, 0)


@pytest.mark.parametrize("decision", ["confirm", "cancel"])
async def test_an_expired_reservation_asks_the_coordinator(machine: Machine, decision: str) -> None:
    asked: list[str] = []

    async def inquire(request: Request) -> Response:
        asked.append(request.path_params["transaction_id"])
        return JSONResponse({"decision": decision, "state": "whatever"})

    path = "/api/v1/transactions/{transaction_id}/inquiries"
    coordinator = Starlette(routes=[Route(path, inquire, methods=["POST"])])
    async with machine.stock() as stock:
        await stock.client.put("/api/v1/products/p", json={"onHand": 10})
        headers = stock.try_headers("tx", "branch", seconds=5)
        await stock.client.post(STOCKS, json={"productId": "p", "qty": 2}, headers=headers)
        stock.clock.shift += 6_000

        async def in_doubt() -> bool:
            return bool((await stock.json(BRANCH)).get("inDoubt"))

        # While the coordinator is out of reach, it stays held.
        await stock.until(in_doubt)
        assert await counts(stock) == (10, 2, 0)
        machine.caller.apps["http://127.0.0.1:8886"] = coordinator
        stock.clock.shift += 60_000
        await stock.until_state(BRANCH, "CONFIRMED" if decision == "confirm" else "CANCELLED")
        assert await counts(stock) == ((8, 0, 2) if decision == "confirm" else (10, 0, 0))
        assert set(asked) == {"tx"}


async def test_a_payments_reservation_follows_its_transaction(payment: Service) -> None:
    await payment.client.put("/api/v1/accounts/ada", json={"balance": 100})
    body = {"customerId": "ada", "paymentAmt": 60, "orderId": "o"}
    first = await payment.client.post(
        "/api/v1/payments", json=body, headers=payment.try_headers("tx-1", "one")
    )
    second = await payment.client.post(
        "/api/v1/payments", json=body, headers=payment.try_headers("tx-2", "two")
    )
    assert (first.status_code, second.status_code, slug(second)) == (201, 402, "payment-declined")
    confirmed = await payment.client.put("/api/v1/payments/one", headers={"tcc-transaction-id": "tx-1"})
    assert confirmed.status_code == 204
    account = await payment.json("/api/v1/accounts/ada")
    assert (account["balance"], account["held"], account["captured"]) == (40, 0, 60)
    refunded = await payment.client.post("/api/v1/payments/one/refunds", json={"reason": "broken"})
    assert (refunded.status_code, refunded.json()["amount"]) == (201, 60)
