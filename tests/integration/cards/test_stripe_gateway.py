"""Cards at Stripe: held once, captured once, let go for good, whatever answers are lost on the way."""

import asyncio
from collections.abc import Mapping

import pytest
from pydantic import SecretStr

from payment_service import cards
from payment_service.stripe import StripeApi
from payment_service.stripe_gateway import StripePayments
from shared.errors import Refused, Transient
from shared.http.caller import Reply
from shared.tcc.protocol import Phase
from tests.cards.stand_in import AUTHENTICATING, DECLINED, KEY
from tests.cards.unlucky_caller import Mishap, UnluckyCaller
from tests.integration.cards.conftest import Desk

CALLS = ("POST payment_intents", "POST confirm", "GET intent", "POST capture", "POST cancel")
every_mishap = pytest.mark.parametrize("mishap", [each for each in Mishap if each is not Mishap.REFUSED])
every_call = pytest.mark.parametrize("call", CALLS)


class Gate(UnluckyCaller):
    """A connection on which one kind of call waits to leave until it is let through."""

    def __init__(self, caller: UnluckyCaller, kind: str) -> None:
        super().__init__(caller)
        self._shut = kind
        self.arrived = asyncio.Event()
        self.opened = asyncio.Event()

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float,  # noqa: ASYNC109 - the port's signature
    ) -> Reply:
        if self._kind(method, url) == self._shut and not self.opened.is_set():
            self.arrived.set()
            await self.opened.wait()
        return await super().call(method, url, headers=headers, body=body, timeout=timeout)


async def test_try_holds_confirm_captures(desk: Desk) -> None:
    claim = desk.begin()
    held = await desk.payments.perform(desk.intent(claim, Phase.TRY))
    [intent] = desk.stripe.intents()

    assert held == {"paymentIntent": intent["id"], "status": "requires_capture"}
    assert intent["capture_method"] == "manual"
    assert intent["metadata"] == {"payment_id": "pay-1", "order_id": "order-1", "transaction_id": "tx-1"}
    assert desk.stripe.money() == (500, 0, 0)
    await desk.payments.perform(desk.intent(claim, Phase.CONFIRM))
    assert desk.stripe.money() == (0, 500, 0)


async def test_cancel_voids(desk: Desk) -> None:
    claim = desk.begin()
    await desk.payments.perform(desk.intent(claim, Phase.TRY))
    await desk.payments.perform(desk.intent(claim, Phase.CANCEL))
    [intent] = desk.stripe.intents()

    assert intent["status"] == "canceled"
    assert desk.stripe.refunds() == []


@every_mishap
@every_call
async def test_a_lost_answer_is_looked_up_and_never_charged_twice(
    desk: Desk, mishap: Mishap, call: str
) -> None:
    desk.caller.mishaps = {call: (mishap, mishap)}
    claim = desk.begin()
    await desk.certain(claim, Phase.TRY)
    assert desk.stripe.money() == (500, 0, 0)
    await desk.certain(claim, Phase.CONFIRM)

    assert desk.stripe.money() == (0, 500, 0)
    assert [each["status"] for each in desk.stripe.intents()].count("succeeded") == 1


@every_mishap
@every_call
async def test_a_lost_answer_to_a_cancel_leaves_nothing_held(desk: Desk, mishap: Mishap, call: str) -> None:
    claim = desk.begin()
    await desk.payments.perform(desk.intent(claim, Phase.TRY))
    desk.caller.mishaps = {call: (mishap, mishap)}
    await desk.certain(claim, Phase.CANCEL)

    assert desk.stripe.money() == (0, 0, 0)


async def test_a_new_attempt_has_a_key_of_its_own(desk: Desk) -> None:
    """Under the old one Stripe repeats what it answered, for a day, an error too."""
    desk.caller.mishaps = {"POST confirm": (Mishap.BROKEN,)}
    await desk.certain(desk.begin(), Phase.TRY)

    assert [key for key in desk.caller.keys if key.endswith("confirm")] == [
        "pay-1:try:0:confirm",
        "pay-1:try:1:confirm",
    ]
    assert "pay-1:try:0" in desk.caller.keys


@pytest.mark.parametrize("number", [DECLINED, AUTHENTICATING])
async def test_a_declined_card_is_refused_and_nothing_can_take_hold_later(desk: Desk, number: str) -> None:
    desk.customer("bob", number)
    claim = desk.begin(customer="bob")
    for look_up in (False, True):
        with pytest.raises(Refused) as refused:
            await (desk.payments.look_up if look_up else desk.payments.perform)(desk.intent(claim, Phase.TRY))
        assert (refused.value.slug, refused.value.status) == ("payment-declined", 402)
    [intent] = desk.stripe.intents()

    assert intent["status"] == "canceled"
    assert desk.stripe.money() == (0, 0, 0)


async def test_a_card_is_charged_in_its_owners_name(desk: Desk) -> None:
    method = desk.stripe.card()
    row = cards.CardRow("ada", method, desk.stripe.owner_of(method), 1)
    desk.database.write_now(lambda connection: cards.register(connection, row))
    await desk.payments.perform(desk.intent(desk.begin(), Phase.TRY))
    [intent] = desk.stripe.intents()

    assert (intent["customer"], intent["payment_method"]) == (row.holder, method)


async def test_a_card_that_stripe_does_not_know_is_refused(desk: Desk) -> None:
    row = cards.CardRow("ada", "pm_unheard_of", None, 1)
    desk.database.write_now(lambda connection: cards.register(connection, row))
    with pytest.raises(Refused, match="Pay with another card"):
        await desk.payments.perform(desk.intent(desk.begin(), Phase.TRY))


@pytest.mark.parametrize("call", ["POST payment_intents", "POST confirm"])
async def test_a_try_that_arrives_after_its_cancel_takes_no_hold(desk: Desk, call: str) -> None:
    gate = Gate(desk.caller, call)
    desk.payments._api._caller = gate
    claim = desk.begin()
    late = asyncio.create_task(desk.payments.perform(desk.intent(claim, Phase.TRY)))
    await asyncio.wait_for(gate.arrived.wait(), 5)
    await desk.payments.perform(desk.intent(claim, Phase.CANCEL))
    gate.opened.set()

    with pytest.raises(Refused):
        await late
    assert desk.stripe.money() == (0, 0, 0)


async def test_two_that_try_at_once_hold_once(desk: Desk) -> None:
    """One was stopped past its lease and goes on: both know the same intent, and it is confirmed once."""
    gate = Gate(desk.caller, "POST payment_intents")
    api = StripeApi(gate, desk.stripe.url, SecretStr(KEY), 5.0)
    slow = StripePayments(api, desk.database, "eur")
    claim = desk.begin()
    late = asyncio.create_task(slow.perform(desk.intent(claim, Phase.TRY)))
    await asyncio.wait_for(gate.arrived.wait(), 5)
    first = await desk.payments.perform(desk.intent(claim, Phase.TRY))
    gate.opened.set()

    assert await late == first
    assert desk.stripe.money() == (500, 0, 0)


@pytest.mark.parametrize("lost", [(), (Mishap.LOST_ANSWER,), (Mishap.LOST_REQUEST,)])
async def test_what_was_captured_behind_our_back_goes_back_when_it_is_cancelled(
    desk: Desk, lost: tuple[Mishap, ...]
) -> None:
    claim = desk.begin()
    held = await desk.payments.perform(desk.intent(claim, Phase.TRY))
    desk.stripe.act(held["paymentIntent"], "capture")
    desk.caller.mishaps = {"POST refunds": lost, "GET refunds": lost}
    await desk.certain(claim, Phase.CANCEL)

    assert desk.stripe.money() == (0, 500, 500)


async def test_an_authorisation_that_has_lapsed_is_no_capture(desk: Desk) -> None:
    claim = desk.begin()
    held = await desk.payments.perform(desk.intent(claim, Phase.TRY))
    desk.stripe.act(held["paymentIntent"], "cancel")
    for step in (desk.payments.look_up, desk.payments.perform):
        with pytest.raises(Refused) as refused:
            await step(desk.intent(claim, Phase.CONFIRM))
        assert refused.value.slug == "authorisation-lost"


async def test_a_capture_that_stripe_does_not_make_is_not_taken_for_one(desk: Desk) -> None:
    claim = desk.begin()
    await desk.payments.perform(desk.intent(claim, Phase.TRY))
    desk.caller.mishaps = {"POST capture": (Mishap.BUSY,) * 3}
    with pytest.raises(Transient):
        await desk.payments.perform(desk.intent(claim, Phase.CONFIRM))
    assert await desk.payments.look_up(desk.intent(claim, Phase.CONFIRM)) is None
    assert desk.stripe.money() == (500, 0, 0)


async def test_nothing_to_pay_is_nothing_to_ask(desk: Desk) -> None:
    claim = desk.begin(amount=0)
    for phase in Phase:
        assert await desk.payments.perform(desk.intent(claim, phase)) == {}
        assert await desk.payments.look_up(desk.intent(claim, phase)) == {}
    assert desk.caller.calls == []
