"""Accounts and refunds over HTTP, as contract.md has them."""

from typing import Any

import httpx
import pytest

from payment_service.domain import MAX_MONEY
from payment_service.participant import PaymentClaim, authorise, capture
from shared.database.inline import InlineDatabase
from shared.tcc.participant import Context

REFUNDS = "/api/v1/payments/pay-1/refunds"


async def put(client: httpx.AsyncClient, customer_id: str, balance: int) -> httpx.Response:
    return await client.put(f"/api/v1/accounts/{customer_id}", json={"balance": balance})


async def account(client: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("/api/v1/accounts/ada")).json()
    return found


def slug(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    return str(problem["type"].removeprefix("urn:handfast:problem:"))


@pytest.fixture
async def paid(client: httpx.AsyncClient, database: InlineDatabase) -> None:
    """Payment pay-1 of 30 is captured from the account of ada, which had 100."""
    await put(client, "ada", 100)
    claim, context = PaymentClaim(customer_id="ada", payment_amt=30), Context("pay-1", None, 1)
    database.write_now(lambda connection: authorise(connection, claim, context))
    database.write_now(lambda connection: capture(connection, claim, context))


async def test_a_put_opens_an_account_then_sets_its_balance(client: httpx.AsyncClient) -> None:
    opened = await put(client, "ada", 100)
    assert opened.status_code == 201
    assert opened.json() == {
        "customerId": "ada",
        "balance": 100,
        "held": 0,
        "available": 100,
        "captured": 0,
        "refunded": 0,
    }
    changed = await put(client, "ada", 40)
    assert (changed.status_code, changed.json()["balance"]) == (200, 40)
    assert await account(client) == changed.json()


async def test_a_card_stays_until_there_is_another_or_none(client: httpx.AsyncClient) -> None:
    path, first = "/api/v1/accounts/ada", {"paymentMethod": "pm_1", "customer": "cus_1"}
    assert (await client.put(path, json={"card": first})).json()["card"] == first
    assert (await client.put(path, json={"balance": 5})).json()["card"] == first
    assert (await client.put(path, json={"card": {"paymentMethod": "pm_2"}})).json()["card"] == {
        "paymentMethod": "pm_2"
    }
    gone = await client.put(path, json={"card": None})
    assert (gone.status_code, gone.json()["balance"]) == (200, 5)
    assert "card" not in gone.json()
    assert await account(client) == gone.json()


async def test_a_balance_below_what_is_held_is_refused(
    client: httpx.AsyncClient, database: InlineDatabase
) -> None:
    await put(client, "ada", 100)
    claim = PaymentClaim(customer_id="ada", payment_amt=30)
    database.write_now(lambda connection: authorise(connection, claim, Context("b", None, 1)))
    refused = await put(client, "ada", 29)
    assert (refused.status_code, slug(refused)) == (409, "below-held")
    assert await account(client) == {
        "customerId": "ada",
        "balance": 100,
        "held": 30,
        "available": 70,
        "captured": 0,
        "refunded": 0,
    }


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"balance": -1},
        {"balance": "1"},
        {"balance": True},
        {"balance": 1.5},
        {"balance": None},
        {"balance": MAX_MONEY + 1},
        {"balance": 1, "held": 1},
    ],
)
async def test_a_malformed_balance_is_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    refused = await client.put("/api/v1/accounts/ada", json=body)
    assert (refused.status_code, slug(refused)) == (422, "invalid-request")
    assert (await client.get("/api/v1/accounts/ada")).status_code == 404


async def test_a_put_without_a_balance_is_refused(client: httpx.AsyncClient) -> None:
    refused = await client.put("/api/v1/accounts/ada")
    assert (refused.status_code, slug(refused)) == (422, "invalid-request")


async def test_an_unknown_account_is_not_found(client: httpx.AsyncClient) -> None:
    missing = await client.get("/api/v1/accounts/nobody")
    assert (missing.status_code, slug(missing)) == (404, "not-found")


async def test_accounts_are_listed_page_by_page(client: httpx.AsyncClient) -> None:
    for number in range(3):
        await put(client, f"c{number}", number)
    first = (await client.get("/api/v1/accounts?limit=2")).json()
    second = (await client.get("/api/v1/accounts", params={"cursor": first["nextCursor"]})).json()
    assert [each["customerId"] for each in first["items"] + second["items"]] == ["c0", "c1", "c2"]
    assert second["nextCursor"] is None


@pytest.mark.usefixtures("paid")
async def test_a_refund_adds_to_balance_and_refunded(client: httpx.AsyncClient) -> None:
    made = await client.post(REFUNDS, json={"amount": 10, "reason": "broken"})
    assert made.status_code == 201
    assert made.json() | {"refundId": "", "createdAt": ""} == {
        "refundId": "",
        "paymentId": "pay-1",
        "customerId": "ada",
        "amount": 10,
        "reason": "broken",
        "createdAt": "",
        "state": "DONE",
    }
    assert await account(client) == {
        "customerId": "ada",
        "balance": 80,
        "held": 0,
        "available": 80,
        "captured": 30,
        "refunded": 10,
    }
    assert (await client.get(REFUNDS)).json() == {"items": [made.json()], "nextCursor": None}


@pytest.mark.usefixtures("paid")
async def test_a_refund_without_an_amount_gives_back_what_is_left(client: httpx.AsyncClient) -> None:
    await client.post(REFUNDS, json={"amount": 10, "reason": "broken"})
    assert (await client.post(REFUNDS, json={"reason": "gone"})).json()["amount"] == 20
    assert (await account(client))["balance"] == 100


@pytest.mark.usefixtures("paid")
async def test_refunds_never_exceed_what_was_captured(client: httpx.AsyncClient) -> None:
    await client.post(REFUNDS, json={"amount": 10, "reason": "broken"})
    refused = await client.post(REFUNDS, json={"amount": 21, "reason": "broken"})
    assert (refused.status_code, slug(refused)) == (409, "refund-exceeds-capture")
    assert (await account(client))["refunded"] == 10


@pytest.mark.usefixtures("paid")
async def test_a_refund_is_made_once_under_its_idempotency_key(client: httpx.AsyncClient) -> None:
    body, key = {"amount": 10, "reason": "broken"}, {"idempotency-key": "once"}
    answers = [await client.post(REFUNDS, json=body, headers=key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 200, 200]
    assert len({answer.text for answer in answers}) == 1
    assert (await account(client))["refunded"] == 10
    other = await client.post(REFUNDS, json=body | {"amount": 11}, headers=key)
    assert (other.status_code, slug(other)) == (422, "idempotency-key-reused")


@pytest.mark.usefixtures("paid")
async def test_a_refused_refund_is_refused_again_under_its_idempotency_key(client: httpx.AsyncClient) -> None:
    body, key = {"amount": 31, "reason": "broken"}, {"idempotency-key": "once"}
    answers = [await client.post(REFUNDS, json=body, headers=key) for _ in range(2)]
    assert [(answer.status_code, slug(answer)) for answer in answers] == [(409, "refund-exceeds-capture")] * 2
    assert answers[0].text == answers[1].text


@pytest.mark.usefixtures("paid")
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"amount": 1},
        {"amount": 0, "reason": "broken"},
        {"amount": -1, "reason": "broken"},
        {"amount": "1", "reason": "broken"},
        {"amount": True, "reason": "broken"},
        {"amount": 1, "reason": ""},
        {"amount": 1, "reason": "broken", "to": "me"},
    ],
)
async def test_a_malformed_refund_is_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    refused = await client.post(REFUNDS, json=body)
    assert (refused.status_code, slug(refused)) == (422, "invalid-request")
    assert (await account(client))["refunded"] == 0


async def test_an_unknown_payment_has_no_refunds(client: httpx.AsyncClient) -> None:
    for answer in (await client.post(REFUNDS, json={"reason": "broken"}), await client.get(REFUNDS)):
        assert (answer.status_code, slug(answer)) == (404, "not-found")
