"""Much at once, over a real database: nothing is oversold, overdrawn, over a limit or refunded twice."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest

from stock_service.participant import BY_STRATEGY
from tests.backing import Backing
from tests.integration.services.conftest import Machine, Service, machine_on, slug

STOCKS, PAYMENTS = "/api/v1/stocks", "/api/v1/payments"


@pytest.fixture(params=["sqlite", "postgres"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """Every store: what comes at once must not depend on a database that writes one thing at a time."""
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    return machine_on(Backing(server), tmp_path)


async def at_once(calls: Iterable[Any]) -> list[httpx.Response]:
    return list(await asyncio.gather(*calls))


def told(answers: Iterable[httpx.Response]) -> Counter[int | str]:
    """Count the answers: successes by status, refusals by slug."""
    return Counter(slug(answer) if answer.status_code >= 400 else answer.status_code for answer in answers)


@pytest.fixture(params=BY_STRATEGY)
async def contended(request: pytest.FixtureRequest, machine: Machine) -> AsyncIterator[Service]:
    """The stock service, once with each strategy."""
    async with machine.stock(request.param) as service:
        yield service


async def reserve(stock: Service, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    """Reserve, and again for as long as too many others are at it."""
    while True:
        answer = await stock.client.post(STOCKS, json=body, headers=headers)
        if answer.status_code != 503 or slug(answer) != "contended":
            return answer


async def test_no_unit_is_sold_twice(contended: Service) -> None:
    await contended.client.put("/api/v1/products/p", json={"onHand": 20})
    answers = await at_once(reserve(contended, productId="p", qty=1, customerId=f"c{n}") for n in range(80))
    assert told(answers) == {201: 20, "insufficient-stock": 60}
    paths = [f"{STOCKS}/{answer.json()['id']}" for answer in answers if answer.status_code == 201]
    for path in paths[::4]:
        await contended.client.delete(path)
    for path in paths:
        if path not in paths[::4]:
            await contended.client.put(path)
    kept = set(paths) - set(paths[::4])
    await asyncio.gather(*(contended.until_state(path, "CONFIRMED") for path in kept))
    product = await contended.json("/api/v1/products/p")
    assert (product["onHand"], product["held"], product["sold"]) == (5, 0, 15)


async def test_confirms_and_cancels_at_once_settle_each_reservation_one_way(stock: Service) -> None:
    await stock.client.put("/api/v1/products/p", json={"onHand": 20})
    made = await at_once(reserve(stock, productId="p", qty=1) for _ in range(20))
    paths = [f"{STOCKS}/{answer.json()['id']}" for answer in made]
    answers = await at_once(
        call(path) for path in paths for call in (stock.client.put, stock.client.delete, stock.client.put)
    )
    assert {answer.status_code for answer in answers} <= {202, 204, 409, 410}

    async def settled() -> bool:
        states = {each["state"] for each in (await stock.json(STOCKS))["items"]}
        return states <= {"CONFIRMED", "CANCELLED"}

    await stock.until(settled)
    states = Counter(each["state"] for each in (await stock.json(STOCKS))["items"])
    product = await stock.json("/api/v1/products/p")
    assert states["CONFIRMED"] + states["CANCELLED"] == 20
    assert (product["onHand"], product["held"]) == (20 - states["CONFIRMED"], 0)
    assert product["sold"] == states["CONFIRMED"]


async def test_a_limit_is_not_passed_by_parallel_orders(contended: Service) -> None:
    await contended.client.put("/api/v1/products/p", json={"onHand": 100, "purchaseLimit": 5})
    answers = await at_once(
        reserve(contended, productId="p", qty=1, customerId=customer) for customer in ["ada", "bob"] * 30
    )
    assert told(answers) == {201: 10, "purchase-limit-reached": 50}
    by_customer = Counter(answer.json()["customerId"] for answer in answers if answer.status_code == 201)
    assert by_customer == {"ada": 5, "bob": 5}


async def test_claims_of_the_same_products_in_any_order_never_wait_for_each_other(contended: Service) -> None:
    for product_id in "abc":
        await contended.client.put(f"/api/v1/products/{product_id}", json={"onHand": 30})
    orders = ["abc", "cba", "bac", "cab"] * 10
    answers = await at_once(
        reserve(contended, items=[{"productId": product_id, "qty": 1} for product_id in order])
        for order in orders
    )
    assert told(answers) == {201: 30, "insufficient-stock": 10}
    products = (await contended.json("/api/v1/products"))["items"]
    assert [each["held"] for each in products] == [30, 30, 30]


async def test_one_branch_tried_twenty_times_at_once_holds_once(contended: Service) -> None:
    await contended.client.put("/api/v1/products/p", json={"onHand": 20})
    headers: dict[str, str] = contended.try_headers("tx", "branch")
    body: dict[str, Any] = {"productId": "p", "qty": 3}
    answers = await at_once(reserve(contended, headers, **body) for _ in range(20))
    assert told(answers) == {201: 20}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (await contended.json("/api/v1/products/p"))["held"] == 3


async def test_parallel_adjustments_are_all_recorded(stock: Service) -> None:
    await stock.client.put("/api/v1/products/p", json={"onHand": 5})
    path = "/api/v1/products/p/adjustments"
    answers = await at_once(
        stock.client.post(path, json={"delta": -1, "reason": "broken"}) for _ in range(20)
    )
    assert told(answers) == {201: 5, "below-held": 15}
    deltas = [each["delta"] for each in (await stock.json(path))["items"]]
    assert sum(deltas) == 0 == (await stock.json("/api/v1/products/p"))["onHand"]
    assert len(deltas) == 6


async def test_of_parallel_changes_with_one_etag_one_is_made(stock: Service) -> None:
    made = await stock.client.put("/api/v1/products/p", json={"onHand": 5})
    headers = {"if-match": made.headers["etag"]}
    answers = await at_once(
        stock.client.put("/api/v1/products/p", json={"onHand": n}, headers=headers) for n in range(6, 26)
    )
    assert told(answers) == {200: 1, "precondition-failed": 19}


async def test_of_parallel_requests_that_only_create_one_creates(stock: Service) -> None:
    headers = {"if-none-match": "*"}
    answers = await at_once(
        stock.client.put("/api/v1/products/p", json={"onHand": n}, headers=headers) for n in range(20)
    )
    assert told(answers) == {201: 1, "precondition-failed": 19}
    [made] = [answer.json() for answer in answers if answer.status_code == 201]
    assert await stock.json("/api/v1/products/p") == made


async def test_a_product_created_twenty_times_at_once_is_created_once(stock: Service) -> None:
    answers = await at_once(stock.client.put("/api/v1/products/p", json={"onHand": 5}) for _ in range(20))
    assert told(answers) == {201: 1, 200: 19}
    assert len((await stock.json("/api/v1/products/p/adjustments"))["items"]) == 1


async def test_an_account_is_not_overdrawn(payment: Service) -> None:
    await payment.client.put("/api/v1/accounts/ada", json={"balance": 100})
    body = {"customerId": "ada", "paymentAmt": 7}
    answers = await at_once(payment.client.post(PAYMENTS, json=body) for _ in range(60))
    assert told(answers) == {201: 14, "payment-declined": 46}
    paths = [f"{PAYMENTS}/{answer.json()['id']}" for answer in answers if answer.status_code == 201]
    await at_once(payment.client.put(path) for path in paths[:10])
    await at_once(payment.client.delete(path) for path in paths[10:])
    await asyncio.gather(*(payment.until_state(path, "CONFIRMED") for path in paths[:10]))
    account = await payment.json("/api/v1/accounts/ada")
    assert (account["balance"], account["held"], account["captured"]) == (30, 0, 70)


async def captured(payment: Service, amount: int) -> str:
    await payment.client.put("/api/v1/accounts/ada", json={"balance": 100})
    made = await payment.client.post(PAYMENTS, json={"customerId": "ada", "paymentAmt": amount})
    path = f"{PAYMENTS}/{made.json()['id']}"
    assert (await payment.client.put(path, headers={"prefer": "wait=10"})).status_code == 204
    return path


async def test_parallel_refunds_never_exceed_what_was_captured(payment: Service) -> None:
    path = await captured(payment, 50)
    body = {"amount": 8, "reason": "broken"}
    answers = await at_once(payment.client.post(f"{path}/refunds", json=body) for _ in range(20))
    assert told(answers) == {201: 6, "refund-exceeds-capture": 14}
    account = await payment.json("/api/v1/accounts/ada")
    assert (account["balance"], account["captured"], account["refunded"]) == (98, 50, 48)
    assert len((await payment.json(f"{path}/refunds"))["items"]) == 6


async def test_one_idempotency_key_twenty_times_at_once_refunds_once(payment: Service) -> None:
    path = await captured(payment, 50)
    body, headers = {"amount": 8, "reason": "broken"}, {"idempotency-key": "once"}
    answers = await at_once(
        payment.client.post(f"{path}/refunds", json=body, headers=headers) for _ in range(20)
    )
    assert told(answers) == {201: 1, 200: 19}
    assert len({answer.text for answer in answers}) == 1
    assert (await payment.json("/api/v1/accounts/ada"))["refunded"] == 8
