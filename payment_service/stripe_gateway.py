"""Stripe as the payment gateway: Try authorises a card, Confirm captures, Cancel voids, refunds go back.

Try takes two calls. The first makes a PaymentIntent, which holds nothing yet; its id is written down; the
second confirms it, and only that holds money. So whatever may hold money is known by its id, durably, before
it does: a lost answer is looked up there, never by a search, and however long ago it was. An intent's own
state lets it be confirmed, captured and cancelled once, and nothing takes hold of one that is cancelled.
"""

from collections.abc import Mapping
from typing import Any, Final

from payment_service import cards
from payment_service.accounts import RefundRow
from payment_service.cards import CardPaymentRow
from payment_service.participant import PaymentClaim, PaymentGateway, capture
from payment_service.stripe import DECLINED, StripeApi
from shared.database.port import Database
from shared.errors import Refused, Transient, Unreachable
from shared.tcc.effects import Intent
from shared.tcc.protocol import Phase

_Object = Mapping[str, Any]
"""An object of Stripe's, as its JSON."""

MOST_REFUNDS: Final = 100
"""Stripe's largest page."""


def stripe_gateway(api: StripeApi, database: Database, currency: str) -> PaymentGateway:
    """Return the gateway. database: the payment service's own, where the intents' ids are kept."""
    payments = StripePayments(api, database, currency)
    return PaymentGateway(
        authorise=cards.authorise_card,
        capture=capture,
        void=cards.void_card,
        effect=payments,
        give_back=payments.give_back,
    )


class StripePayments:
    """The external effect of payments by card."""

    def __init__(self, api: StripeApi, database: Database, currency: str) -> None:
        self._api = api
        self._database = database
        self._currency = currency

    async def perform(self, intent: Intent[PaymentClaim]) -> Mapping[str, Any]:
        if intent.claim.payment_amt == 0:
            return {}  # Stripe holds no nothing.
        if intent.phase is Phase.TRY:
            return await self._authorise(intent)
        if intent.phase is Phase.CONFIRM:
            return await self._capture(intent)
        return await self._void(intent)

    async def look_up(self, intent: Intent[PaymentClaim]) -> Mapping[str, Any] | None:
        if intent.claim.payment_amt == 0:
            return {}
        known = await self._known(intent.branch_id)
        if known.intent_id is None:
            return None  # It has no name yet, so nothing can have taken hold.
        found = await self._read(known.intent_id)
        if intent.phase is Phase.TRY:
            return await self._authorised(intent, found)
        if intent.phase is Phase.CONFIRM:
            return _captured(found)
        return await self._voided(found, intent.claim.payment_amt)

    async def give_back(self, refund: RefundRow) -> None:
        """Send a refund back to its payment's card; raise Refused where Stripe declines it."""
        known = await self._known(refund.payment_id)
        assert known.intent_id is not None, f"payment {refund.payment_id} was captured without an intent"
        # An idempotency key is good for a day; after that, what Stripe lists is the truth.
        if refund.attempts and any(_is_of(each, refund.id) for each in await self._refunds(known.intent_id)):
            return
        await self._refund(known.intent_id, refund.amount, refund.id)

    async def _authorise(self, intent: Intent[PaymentClaim]) -> Mapping[str, Any]:
        known = await self._known(intent.branch_id)
        if known.intent_id is None:
            created = await self._api.post("payment_intents", self._form(intent, known), _key(intent))
            named = str(created["id"])
            known = await self._database.write(
                lambda connection: cards.name_intent(connection, intent.branch_id, named)
            )
        if known.intent_id is None:
            raise Refused("cancelled-before-try", f"Payment {intent.branch_id} was cancelled before.")
        try:
            found = await self._act(known.intent_id, "confirm", intent)
        except Refused:
            # Declined, or confirmed before: the intent itself knows.
            found = await self._read(known.intent_id)
        authorised = await self._authorised(intent, found)
        if authorised is None:
            raise Unreachable(f"Stripe doesn't confirm {known.intent_id}, which is {found.get('status')}.")
        return authorised

    async def _authorised(self, intent: Intent[PaymentClaim], found: _Object) -> Mapping[str, Any] | None:
        """Return what to remember of an intent that holds the money, None of one that is to be confirmed.

        Raises Refused where it never will; then it is closed, so that nothing can take hold of it later.
        """
        status = found.get("status")
        if status in ("requires_capture", "succeeded"):
            return _remembered(found)
        if status == "requires_confirmation":
            return None
        if status == "requires_payment_method":
            refusal = _declined(found)
        elif status == "requires_action":
            detail = "The card wants its holder to authenticate, which isn't possible here. Pay with another."
            refusal = Refused(DECLINED, detail, status=402)
        elif status == "canceled":
            raise Refused(DECLINED, "The payment was cancelled at the gateway. Pay again.", status=402)
        else:
            raise _undecided(found)
        await self._act(str(found["id"]), "cancel", intent)
        raise refusal

    async def _capture(self, intent: Intent[PaymentClaim]) -> Mapping[str, Any]:
        known = await self._known(intent.branch_id)
        assert known.intent_id is not None, f"payment {intent.branch_id} is to be captured without an intent"
        try:
            found = await self._act(known.intent_id, "capture", intent)
        except Refused:
            found = await self._read(known.intent_id)
        captured = _captured(found)
        if captured is None:
            raise Unreachable(f"Stripe doesn't capture {known.intent_id}, which is {found.get('status')}.")
        return captured

    async def _void(self, intent: Intent[PaymentClaim]) -> Mapping[str, Any]:
        known = await self._database.write(lambda connection: cards.bar(connection, intent.branch_id))
        if known.intent_id is None:
            return {}  # Whoever creates one from here on can't give it a name, and confirms none without.
        try:
            found = await self._act(known.intent_id, "cancel", intent)
        except Refused:
            found = await self._read(known.intent_id)
        amount = intent.claim.payment_amt
        voided = await self._voided(found, amount)
        if voided is None and found.get("status") == "succeeded":
            # Somebody captured it at Stripe: what is left of it goes back.
            refunded = sum(int(each["amount"]) for each in await self._refunds(known.intent_id))
            await self._refund(known.intent_id, amount - refunded, f"{intent.branch_id}:cancel:refund")
            return _remembered(found)
        if voided is None:
            raise Unreachable(f"Stripe doesn't cancel {known.intent_id}, which is {found.get('status')}.")
        return voided

    async def _voided(self, found: _Object, amount: int) -> Mapping[str, Any] | None:
        """Return what to remember of an intent that keeps no money; None of one that does."""
        status = found.get("status")
        if status == "canceled":
            return _remembered(found)
        if status == "succeeded":
            refunds = await self._refunds(str(found["id"]))
            if sum(int(each["amount"]) for each in refunds) >= amount:
                return _remembered(found)
        return None

    async def _act(self, intent_id: str, act: str, intent: Intent[PaymentClaim]) -> _Object:
        return await self._api.post(f"payment_intents/{intent_id}/{act}", {}, f"{_key(intent)}:{act}")

    async def _read(self, intent_id: str) -> _Object:
        return await self._api.get(f"payment_intents/{intent_id}")

    async def _refund(self, intent_id: str, amount: int, refund_id: str) -> None:
        form = {"payment_intent": intent_id, "amount": str(amount), "metadata[refund_id]": refund_id}
        made = await self._api.post("refunds", form, refund_id)
        if made.get("status") in ("failed", "canceled"):
            raise Refused("refund-declined", "Stripe can't send the money back to the card.")

    async def _refunds(self, intent_id: str) -> list[_Object]:
        """Return the refunds of an intent that have taken place or will."""
        found: list[_Object] = []
        query = {"payment_intent": intent_id, "limit": str(MOST_REFUNDS)}
        while True:
            listed = await self._api.get("refunds", **query)
            found += listed["data"]
            if not listed["data"] or not listed.get("has_more"):
                return [each for each in found if each.get("status") not in ("failed", "canceled")]
            query["starting_after"] = str(listed["data"][-1]["id"])

    async def _known(self, payment_id: str) -> CardPaymentRow:
        known = await self._database.read(lambda connection: cards.payment_by_card(connection, payment_id))
        assert known is not None, f"payment {payment_id} is none by card"
        return known

    def _form(self, intent: Intent[PaymentClaim], known: CardPaymentRow) -> Mapping[str, str]:
        form = {
            "amount": str(intent.claim.payment_amt),
            "currency": self._currency,
            "capture_method": "manual",
            "payment_method": known.method,
            "payment_method_types[]": "card",
            "metadata[payment_id]": intent.branch_id,
        }
        optional = {
            "customer": known.holder,
            "metadata[order_id]": intent.claim.order_id,
            "metadata[transaction_id]": intent.transaction_id,
        }
        return form | {name: value for name, value in optional.items() if value is not None}


def _key(intent: Intent[PaymentClaim]) -> str:
    """Return the idempotency key of this attempt: under an old one Stripe would only repeat its error."""
    return f"{intent.key}:{intent.attempt}"


def _captured(found: _Object) -> Mapping[str, Any] | None:
    """Return what to remember of a captured intent, None of one that is still to be captured."""
    status = found.get("status")
    if status == "succeeded":
        return _remembered(found)
    if status == "requires_capture":
        return None
    if status == "canceled":
        raise Refused("authorisation-lost", "The authorisation was cancelled, or has lapsed, at Stripe.")
    raise _undecided(found)


def _declined(found: _Object) -> Refused:
    error = found.get("last_payment_error")
    told = error.get("message") if isinstance(error, dict) else None
    message = told if isinstance(told, str) and told.isprintable() else "The card was declined."
    return Refused(DECLINED, f"{message[:200]} Pay with another card.", status=402)


def _undecided(found: _Object) -> Transient:
    return Unreachable(f"Stripe's {found.get('id')} is {found.get('status')}: its outcome is not known yet.")


def _remembered(found: _Object) -> Mapping[str, Any]:
    return {"paymentIntent": found["id"], "status": found["status"]}


def _is_of(refund: _Object, refund_id: str) -> bool:
    metadata = refund.get("metadata")
    return isinstance(metadata, dict) and metadata.get("refund_id") == refund_id
