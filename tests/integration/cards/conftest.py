"""The gateway for cards over a stand-in for Stripe, without a service around it."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import SQLModel

from payment_service import accounts, cards
from payment_service.cards import CardRow
from payment_service.participant import PaymentClaim, PaymentGateway
from payment_service.stripe import StripeApi
from payment_service.stripe_gateway import StripePayments, stripe_gateway
from payment_service.tables import TABLES
from shared.database.inline import InlineDatabase
from shared.errors import Transient
from shared.http.aiohttp_caller import AiohttpCaller
from shared.tcc.effects import Intent
from shared.tcc.participant import Context
from shared.tcc.protocol import Phase
from tests.cards.stand_in import GOOD, KEY, StripeStandIn, stripe_stand_in
from tests.cards.unlucky_caller import UnluckyCaller


@dataclass
class Desk:
    """A gateway, its stand-in, its books, and the connection between the two, which a test may spoil."""

    stripe: StripeStandIn
    database: InlineDatabase
    caller: UnluckyCaller
    gateway: PaymentGateway

    @property
    def payments(self) -> StripePayments:
        assert isinstance(self.gateway.effect, StripePayments)
        return self.gateway.effect

    def customer(self, name: str = "ada", number: str = GOOD) -> None:
        """Have a customer pay with a card of that number."""
        card = CardRow(name, self.stripe.card(number), None, 0)
        self.database.write_now(
            lambda connection: accounts.put(connection, name, None, deposit_id="d", now=0)
        )
        self.database.write_now(lambda connection: cards.register(connection, card))

    def begin(self, payment_id: str = "pay-1", customer: str = "ada", amount: int = 500) -> PaymentClaim:
        """Do what commit 1 of a Try does."""
        claim = PaymentClaim(customer_id=customer, order_id="order-1", payment_amt=amount)
        context = Context(payment_id, "tx-1", 1)
        self.database.write_now(lambda connection: self.gateway.authorise(connection, claim, context))
        return claim

    def intent(self, claim: PaymentClaim, phase: Phase, attempt: int = 0) -> Intent[PaymentClaim]:
        return Intent(phase=phase, branch_id="pay-1", transaction_id="tx-1", claim=claim, attempt=attempt)

    async def certain(self, claim: PaymentClaim, phase: Phase) -> Any:
        """Perform, and while the outcome is unknown look it up first, as the kit does."""
        for attempt in range(20):
            intent = self.intent(claim, phase, attempt)
            try:
                found = await self.payments.look_up(intent) if attempt else None
                return await self.payments.perform(intent) if found is None else found
            except Transient:
                continue
        raise AssertionError(f"{phase} never got certain")


@pytest.fixture(scope="session")
def stand_in() -> Iterator[StripeStandIn]:
    with stripe_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def stripe(stand_in: StripeStandIn) -> StripeStandIn:
    """The stand-in for Stripe, empty."""
    stand_in.forget()
    return stand_in


@pytest.fixture
async def desk(stripe: StripeStandIn) -> AsyncIterator[Desk]:
    database = InlineDatabase()
    await database.start()
    database.write_now(lambda connection: SQLModel.metadata.create_all(connection, TABLES))
    caller = UnluckyCaller(AiohttpCaller())
    gateway = stripe_gateway(StripeApi(caller, stripe.url, SecretStr(KEY), 5.0), database, "eur")
    desk = Desk(stripe, database, caller, gateway)
    desk.customer()
    yield desk
    await caller.close()
    await database.close()
