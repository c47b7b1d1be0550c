"""The payment service with its money at Stripe: the whole service, in process, over the stand-in."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

import payment_service.app
from payment_service.settings import PaymentSettings
from shared.http.aiohttp_caller import AiohttpCaller
from shared.messaging.memory import MemoryBroker
from shared.migrations import upgrade
from shared.program import Surroundings
from shared.settings import database_place
from tests.backing import Backing
from tests.cards.stand_in import DECLINED, KEY, StripeStandIn
from tests.cards.unlucky_caller import Mishap, UnluckyCaller
from tests.integration.services.conftest import Machine, Service, ShiftedClock, slug

PAST_EVERY_LEASE_MS = 60_000
REFUND = {"amount": 100, "reason": "broken"}
ONCE = {"idempotency-key": "once"}
WAIT = {"prefer": "wait=10"}


@dataclass
class CardMachine(Machine):
    """A machine whose payment service may have its money at Stripe. stripe: None for the ledger."""

    stripe: StripeStandIn | None = None
    spoilt: UnluckyCaller | None = None

    @contextlib.asynccontextmanager
    async def payment(self) -> AsyncIterator[Service]:
        cards: dict[str, Any] = {}
        if self.stripe is not None:
            cards = {"payment_gateway": "stripe", "stripe_url": self.stripe.url}
            cards |= {"stripe_api_key": SecretStr(KEY), "gateway_timeout_seconds": 5.0}
        cards |= self.database
        settings = PaymentSettings(data_dir=self.disk, sweep_seconds=0.02, retry="fixed:20ms,3", **cards)
        await asyncio.to_thread(upgrade, database_place(settings, "payment"), "payment")
        around = Surroundings(clock=self.clock, broker=self.broker, caller=self.spoilt)
        async with self._running(payment_service.app.create_app(settings, around)) as service:
            yield service


@pytest.fixture
def database(backing: Backing) -> Mapping[str, Any]:
    """Settings of where the service has its data, if not on its disk."""
    return backing.emptied("cards", "payment")


@pytest.fixture
async def machine(
    tmp_path: Path, stripe: StripeStandIn, database: Mapping[str, Any]
) -> AsyncIterator[CardMachine]:
    clock = ShiftedClock()
    caller = UnluckyCaller(AiohttpCaller())
    broker = MemoryBroker(clock)
    yield CardMachine(tmp_path, broker, clock, database=database, stripe=stripe, spoilt=caller)
    await caller.close()


@pytest.fixture
async def service(machine: CardMachine) -> AsyncIterator[Service]:
    async with machine.payment() as service:
        yield service


def spoil(machine: CardMachine, **mishaps: tuple[Mishap, ...]) -> None:
    """Have the first calls of each kind go wrong from now on."""
    assert machine.spoilt is not None
    machine.spoilt.mishaps = {name.replace("_", " ", 1): what for name, what in mishaps.items()}
    machine.spoilt.forget()


async def register(service: Service, stripe: StripeStandIn, customer: str = "ada", **card: str) -> Any:
    body = {"card": {"paymentMethod": stripe.card(**card)}}
    answer = await service.client.put(f"/api/v1/accounts/{customer}", json=body)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


async def pay(service: Service, customer: str = "ada", amount: int = 500) -> httpx.Response:
    body = {"customerId": customer, "paymentAmt": amount}
    return await service.client.post("/api/v1/payments", json=body)


async def paid(service: Service, stripe: StripeStandIn) -> str:
    """Have a payment captured; return its path."""
    await register(service, stripe)
    path = f"/api/v1/payments/{(await pay(service)).json()['id']}"
    assert (await service.client.put(path, headers=WAIT)).status_code == 204
    return path


async def funds(service: Service, customer: str = "ada") -> tuple[int, ...]:
    """Return balance, held, available, captured and refunded."""
    found = await service.json(f"/api/v1/accounts/{customer}")
    return tuple(found[name] for name in ("balance", "held", "available", "captured", "refunded"))


async def test_the_account_shows_what_the_gateway_holds(service: Service, stripe: StripeStandIn) -> None:
    assert (await register(service, stripe))["card"]["paymentMethod"].startswith("pm_")
    path = f"/api/v1/payments/{(await pay(service)).json()['id']}"
    assert await funds(service) == (500, 500, 0, 0, 0)
    assert stripe.money() == (500, 0, 0)
    await service.client.put(path, headers=WAIT)
    assert await funds(service) == (0, 0, 0, 500, 0)
    assert stripe.money() == (0, 500, 0)
    refund = await service.client.post(f"{path}/refunds", json=REFUND)
    assert (refund.status_code, refund.json()["state"]) == (201, "DONE")
    assert await funds(service) == (0, 0, 0, 500, 100)
    assert stripe.money() == (0, 500, 100)


async def test_a_voided_payment_never_came_in(service: Service, stripe: StripeStandIn) -> None:
    await register(service, stripe)
    path = f"/api/v1/payments/{(await pay(service)).json()['id']}"
    assert (await service.client.delete(path)).status_code == 204
    assert await funds(service) == (0, 0, 0, 0, 0)
    assert stripe.money() == (0, 0, 0)


async def test_who_has_no_card_or_a_bad_one_is_declined(service: Service, stripe: StripeStandIn) -> None:
    assert (await service.client.put("/api/v1/accounts/ada", json={"balance": 1_000})).status_code == 201
    without = await pay(service)
    await register(service, stripe, number=DECLINED)
    declined = await pay(service)

    for answer in (without, declined):
        assert (answer.status_code, slug(answer)) == (402, "payment-declined")
    assert await funds(service) == (1_000, 0, 1_000, 0, 0)
    assert stripe.money() == (0, 0, 0)


async def test_a_new_card_is_for_new_payments(service: Service, stripe: StripeStandIn) -> None:
    first = (await register(service, stripe))["card"]
    await pay(service)
    await register(service, stripe)
    assert stripe.intents()[0]["payment_method"] == first["paymentMethod"]


async def test_a_gateway_that_is_away_makes_confirms_wait_and_no_letters(
    machine: CardMachine, service: Service, stripe: StripeStandIn
) -> None:
    await register(service, stripe)
    path = f"/api/v1/payments/{(await pay(service)).json()['id']}"
    spoil(machine, POST_capture=(Mishap.BROKEN,) * 3)
    assert (await service.client.put(path)).status_code == 202

    async def in_doubt() -> bool:
        return bool((await service.json(path)).get("inDoubt"))

    await service.until(in_doubt)
    assert (await service.json("/api/v1/dead-letters"))["items"] == []

    async def confirmed() -> bool:
        machine.clock.shift += PAST_EVERY_LEASE_MS
        return bool((await service.json(path))["state"] == "CONFIRMED")

    await service.until(confirmed)
    assert (await service.json("/api/v1/dead-letters"))["items"] == []
    assert stripe.money() == (0, 500, 0)


async def test_a_refund_whose_answer_is_lost_is_done_once(
    machine: CardMachine, service: Service, stripe: StripeStandIn
) -> None:
    path = await paid(service, stripe)
    spoil(machine, POST_refunds=(Mishap.LOST_ANSWER,))
    first = await service.client.post(f"{path}/refunds", json=REFUND, headers=ONCE)
    again = await service.client.post(f"{path}/refunds", json=REFUND, headers=ONCE)
    assert [first.status_code, again.status_code] == [202, 202]
    assert first.json()["state"] == "PENDING"
    assert first.headers["retry-after"] == "1"
    assert slug(await service.client.post(f"{path}/refunds", json={**REFUND, "amount": 401})) == (
        "refund-exceeds-capture"
    )
    machine.clock.shift += PAST_EVERY_LEASE_MS

    async def done() -> bool:
        return bool((await service.json(f"{path}/refunds"))["items"][0]["state"] == "DONE")

    await service.until(done)
    assert (await service.client.post(f"{path}/refunds", json=REFUND, headers=ONCE)).status_code == 200
    assert stripe.money() == (0, 500, 100)


async def test_a_refund_survives_the_service(machine: CardMachine, stripe: StripeStandIn) -> None:
    async with machine.payment() as service:
        path = await paid(service, stripe)
        spoil(machine, POST_refunds=(Mishap.LOST_REQUEST,))
        assert (await service.client.post(f"{path}/refunds", json=REFUND)).status_code == 202
    machine.clock.shift += PAST_EVERY_LEASE_MS
    async with machine.payment() as service:

        async def done() -> bool:
            return bool((await service.json(f"{path}/refunds"))["items"][0]["state"] == "DONE")

        await service.until(done)
    assert stripe.money() == (0, 500, 100)


async def test_a_declined_refund_gives_nothing_back(
    machine: CardMachine, service: Service, stripe: StripeStandIn
) -> None:
    path = await paid(service, stripe)
    spoil(machine, POST_refunds=(Mishap.REFUSED,))
    declined = [await service.client.post(f"{path}/refunds", json=REFUND, headers=ONCE) for _ in range(2)]
    assert [(each.status_code, slug(each)) for each in declined] == [(409, "refund-declined")] * 2
    assert await funds(service) == (0, 0, 0, 500, 0)
    assert (await service.json(f"{path}/refunds"))["items"][0]["state"] == "FAILED"
    whole = await service.client.post(f"{path}/refunds", json={"reason": "all of it"})
    assert (whole.status_code, whole.json()["amount"]) == (201, 500)
    assert stripe.money() == (0, 500, 500)


async def test_refunds_at_once_never_exceed_what_was_captured(
    service: Service, stripe: StripeStandIn
) -> None:
    path = await paid(service, stripe)
    body = {"amount": 300, "reason": "twice"}
    answers = await asyncio.gather(*(service.client.post(f"{path}/refunds", json=body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert stripe.money() == (0, 500, 300)


async def test_a_payment_ends_where_it_began(machine: CardMachine, stripe: StripeStandIn) -> None:
    """The gateway may change between two starts; what is under way is finished where it was begun."""
    machine.stripe = None
    async with machine.payment() as ledger:
        await ledger.client.put("/api/v1/accounts/ada", json={"balance": 1_000})
        kept, dropped = [f"/api/v1/payments/{(await pay(ledger)).json()['id']}" for _ in range(2)]
    machine.stripe = stripe
    async with machine.payment() as cards:
        assert (await cards.client.put(kept, headers=WAIT)).status_code == 204
        assert (await cards.client.delete(dropped)).status_code == 204
        assert (await cards.client.post(f"{kept}/refunds", json=REFUND)).status_code == 201
        assert await funds(cards) == (600, 0, 600, 500, 100)
        assert stripe.intents() == []
        by_card = await paid(cards, stripe)
        held = f"/api/v1/payments/{(await pay(cards)).json()['id']}"
    machine.stripe = None
    async with machine.payment() as ledger:
        refused = await ledger.client.post(f"{by_card}/refunds", json=REFUND)
        assert (refused.status_code, slug(refused)) == (503, "gateway-missing")
        refused = await ledger.client.delete(held)
        assert (refused.status_code, slug(refused)) == (503, "effect-missing")
        assert (await ledger.json(held))["state"] == "TRIED"
    machine.stripe = stripe
    async with machine.payment() as cards:
        assert (await cards.client.delete(held)).status_code == 204
        assert (await cards.client.post(f"{by_card}/refunds", json=REFUND)).status_code == 201
    assert stripe.money() == (0, 500, 100)


async def test_the_key_is_in_no_log_and_no_answer(
    machine: CardMachine, service: Service, stripe: StripeStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    spoil(machine, POST_confirm=(Mishap.LOST_ANSWER, Mishap.BROKEN), GET_intent=(Mishap.NONSENSE,))
    await register(service, stripe)
    answers = [await pay(service) for _ in range(3)]
    told = "".join(answer.text for answer in answers)
    for path in ("/api/v1/payments", "/api/v1/accounts", "/openapi.json", "/metrics", "/readyz"):
        told += (await service.client.get(path)).text

    assert "unknown" in caplog.text, "something went wrong and was logged"
    assert KEY not in caplog.text
    assert KEY not in told


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"card": {}},
        {"card": "pm_1"},
        {"card": {"paymentMethod": ""}},
        {"card": {"paymentMethod": "pm_1/../cus"}},
        {"card": {"paymentMethod": "pm_1\r\nx"}},
        {"card": {"paymentMethod": "p" * 256}},
        {"card": {"paymentMethod": 1}},
        {"card": {"paymentMethod": "pm_1", "number": "4242424242424242"}},
        {"card": {"paymentMethod": "pm_1", "customer": "a b"}},
    ],
)
async def test_a_malformed_card_is_refused(service: Service, body: Any) -> None:
    refused = await service.client.put("/api/v1/accounts/ada", json=body)
    assert (refused.status_code, slug(refused)) == (422, "invalid-request")
    assert (await service.client.get("/api/v1/accounts/ada")).status_code == 404
