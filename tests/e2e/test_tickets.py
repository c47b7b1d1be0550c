"""Tickets by card: hold, pay at the gateway, issue, on a real stack with a stand-in for Stripe.

Whatever is killed or late in between: captured once and issued once, or neither held nor captured.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from cli.stack import OwnStack, start_stack
from shared.settings import database_place
from tests.backing import Backing
from tests.cards.proxy import StripeProxy, stripe_proxy
from tests.cards.stand_in import DECLINED, KEY, StripeStandIn, stripe_stand_in
from tests.collector import collect
from tests.e2e.conftest import FAST, Rest
from tests.e2e.settled import until_settled
from tests.e2e.waiting import eventually
from tests.invariants import broken, unfinished
from tests.stores import fetch

PRICE: Final = 4_200
TIMEOUT: Final = 5
"""Seconds after which a payment without an answer is looked up."""
GATEWAY: Final = {
    "HANDFAST_PAYMENT_GATEWAY": "stripe",
    "HANDFAST_STRIPE_API_KEY": KEY,
    "HANDFAST_GATEWAY_TIMEOUT_SECONDS": str(TIMEOUT),
    "HANDFAST_REPUBLISH_SECONDS": "1",
    "HANDFAST_REPUBLISH_MAX_SECONDS": "4",
}


@dataclass
class BoxOffice:
    """A stack that sells tickets, the gateway it sells them through, and what goes on between the two."""

    stack: OwnStack
    rest: Rest
    stripe: StripeStandIn
    proxy: StripeProxy
    pool: ThreadPoolExecutor

    def customer(self, name: str, **card: str) -> None:
        body = {"card": {"paymentMethod": self.stripe.card(**card)}}
        assert self.rest.send("PUT", f"payment/accounts/{name}", body).status_code in (200, 201)

    def hold(self, order_id: str, customer: str, seconds: int = 600) -> None:
        body = {"orderId": order_id, "customerId": customer, "productId": "1", "qty": 1, "paymentAmt": PRICE}
        held = self.rest.send("POST", "order/orders", {**body, "hold": {"seconds": seconds}})
        assert (held.status_code, held.json()["status"]) == (201, "HELD"), held.text

    def pay(self, order_id: str) -> httpx.Response:
        return self.rest.send("PUT", f"order/orders/{order_id}", Prefer="wait=10")

    def paying(self, order_id: str) -> "Future[httpx.Response]":
        return self.pool.submit(self.pay, order_id)

    def status(self, order_id: str) -> str:
        return str(self.rest.get(f"order/orders/{order_id}")["status"])

    def issued(self) -> int:
        return int(self.rest.get("stock/products/1")["sold"])

    def charges(self, order_id: str) -> list[str]:
        """Return what became of each intent for an order that was confirmed at the gateway."""
        intents = (each for each in self.stripe.intents() if each["metadata"]["order_id"] == order_id)
        return [each["status"] for each in intents if each["latest_charge"] is not None]

    def all_adds_up(self) -> None:
        """Wait until nothing is under way; then books, gateway and invariants must agree."""

        async def look() -> None:
            async with httpx.AsyncClient(trust_env=False) as client:

                async def read(program: str, path: str) -> Any:
                    return (await client.get(self.rest.url(f"{program}{path}"))).raise_for_status().json()

                await until_settled(read, 30.0)
                snapshot = await collect(read, await self._paid_in())
                assert [*broken(snapshot), *unfinished(snapshot)] == []
                captured = sum(account.captured for account in snapshot.accounts)
                refunded = sum(account.refunded for account in snapshot.accounts)
                assert self.stripe.money() == (0, captured, refunded)

        asyncio.run(look())

    async def _paid_in(self) -> dict[str, int]:
        query = (
            "SELECT customer_id, (SELECT coalesce(sum(delta), 0) FROM deposit "
            "WHERE deposit.customer_id = account.customer_id) FROM account"
        )
        rows = await fetch(database_place(self.stack.settings, "payment"), query)
        return {customer: int(paid_in) for customer, paid_in in rows}


@pytest.fixture(scope="module")
def office(backing: Backing) -> Iterator[BoxOffice]:
    with ExitStack() as opened:
        stripe = opened.enter_context(stripe_stand_in())
        proxy = opened.enter_context(stripe_proxy(stripe.url))
        gateway = {**GATEWAY, "HANDFAST_STRIPE_URL": proxy.url}
        stack = start_stack(environment={**FAST, **backing.environment(), **gateway})
        opened.callback(stack.stop)
        rest = Rest(stack)
        opened.callback(rest.close)
        pool = opened.enter_context(ThreadPoolExecutor(4))
        office = BoxOffice(stack, rest, stripe, proxy, pool)
        office.customer("ada")
        yield office


def test_paid_twice_at_once_is_one_payment_and_one_ticket(office: BoxOffice) -> None:
    office.hold("twice", "ada")
    before = office.issued()
    first, second = office.paying("twice"), office.paying("twice")
    answers = {first.result().status_code, second.result().status_code, office.pay("twice").status_code}

    assert answers == {200}
    assert office.status("twice") == "CONFIRMED"
    assert office.issued() == before + 1
    assert office.charges("twice") == ["succeeded"]
    office.all_adds_up()


def test_a_declined_card_keeps_the_hold_until_another_one_pays(office: BoxOffice) -> None:
    office.customer("bea", number=DECLINED)
    office.hold("declined", "bea")
    refused = office.pay("declined")
    assert (refused.status_code, refused.json()["type"]) == (402, "urn:handfast:problem:payment-declined")
    assert office.status("declined") == "HELD"
    office.customer("bea")
    assert office.pay("declined").status_code == 200
    assert office.charges("declined") == ["canceled", "succeeded"]
    office.all_adds_up()


def test_paid_too_late_is_410_and_the_authorisation_is_void(office: BoxOffice) -> None:
    """The hold lapses while the gateway, which has authorised the card, doesn't answer.

    It began before the payment and lasts no longer than that is waited for: looked up in time, the order
    would rightly be confirmed.
    """
    before = office.issued()
    with office.proxy.withhold("/confirm") as withheld:
        office.hold("late", "ada", seconds=TIMEOUT)
        paying = office.paying("late")
        assert withheld.arrived.wait(10), "the payment never reached the gateway"
        assert office.stripe.money().held == PRICE
        eventually(lambda: office.status("late") != "HELD", "the hold has lapsed")
    answer = paying.result()
    again = office.pay("late")
    for told in (answer, again):
        assert (told.status_code, told.json()["type"]) == (410, "urn:handfast:problem:reservation-expired")
    eventually(lambda: office.charges("late") == ["canceled"], "the authorisation is void")
    eventually(lambda: office.status("late") == "CANCELLED", "the order is cancelled")
    assert office.issued() == before
    office.all_adds_up()


def test_called_off_while_it_is_paid_keeps_no_money(office: BoxOffice) -> None:
    with office.proxy.withhold("/confirm") as withheld:
        office.hold("called-off", "ada")
        paying = office.paying("called-off")
        assert withheld.arrived.wait(10), "the payment never reached the gateway"
        called_off = office.pool.submit(office.rest.send, "DELETE", "order/orders/called-off")
    settled = {called_off.result().status_code, paying.result().status_code}
    eventually(lambda: office.status("called-off") in ("CONFIRMED", "CANCELLED"), "it is settled")
    if office.status("called-off") == "CANCELLED":
        assert settled <= {202, 204, 409}
        eventually(lambda: office.charges("called-off") == ["canceled"], "the authorisation is void")
    else:
        assert settled <= {200, 409}
        assert office.charges("called-off") == ["succeeded"]
    office.all_adds_up()


@pytest.mark.parametrize("call", ["/confirm", "/capture"])
def test_killed_between_the_call_and_its_answer_it_is_charged_and_issued_once(
    office: BoxOffice, call: str
) -> None:
    """The payment service dies when the gateway has acted and it hasn't heard."""
    order_id, before = f"killed{call.replace('/', '-')}", office.issued()
    office.hold(order_id, "ada")
    killed = office.stack.pid("payment")
    with office.proxy.withhold(call) as withheld:
        paying = office.paying(order_id)
        assert withheld.arrived.wait(10), "the payment never reached the gateway"
        os.kill(killed, signal.SIGKILL)
    assert paying.result().status_code in (200, 202)
    eventually(lambda: office.stack.processes().get("payment", {}).get("pid", killed) != killed, "it is back")
    eventually(lambda: office.pay(order_id).status_code == 200, "it is paid")
    eventually(lambda: office.status(order_id) == "CONFIRMED", "it is issued")

    assert office.charges(order_id) == ["succeeded"]
    assert office.issued() == before + 1
    office.all_adds_up()


def test_the_key_is_in_no_log(office: BoxOffice) -> None:
    logs = list(office.stack.directory.logs.glob("*.log"))
    assert any(log.name.startswith("payment") for log in logs)
    assert [log.name for log in logs if KEY in log.read_text(encoding="utf-8")] == []
