"""An order service without sockets: its own database, a coordinator at the port, a clock set by hand."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from sqlmodel import SQLModel

from order_service import participant
from order_service.coordinator_client import CoordinatorClient
from order_service.domain import Draft, Line, Status
from order_service.front_door import FrontDoor
from order_service.holds import Holds
from order_service.orders import Order
from order_service.participant import OrderClaim, order, try_of
from order_service.patience import Patience
from order_service.progress import Progress
from order_service.sweeper import OrderSweeper
from order_service.tables import TABLES
from shared.bell import Bell
from shared.database.inline import InlineDatabase
from shared.identity import ulids
from shared.messaging.outbox import Outbox
from shared.tcc.participant import Context, ParticipantHost
from tests.unit.order.clock import HandClock
from tests.unit.order.coordinator import BASE, FakeCoordinator
from tests.unit.order.shop import Shop, opened

PATIENCE = 0.4
GRACE = 3_000


@dataclass
class World:
    """Everything that an order needs."""

    clock: HandClock = field(default_factory=HandClock)
    database: InlineDatabase = field(default_factory=InlineDatabase)
    bell: Bell = field(default_factory=lambda: Bell(poll=0.01))
    settles: bool = False  # whether the participant hears of a decision at once

    def __post_init__(self) -> None:
        randomness = random.Random(7)
        new_id = ulids(self.clock, randomness)
        self.coordinator = FakeCoordinator(self.clock)
        self.coordinator.on_decision = self._decided
        client = CoordinatorClient(self.coordinator, BASE)
        patience = Patience(call_seconds=0.2, randomness=randomness)
        self.progress = Progress(database=self.database, clock=self.clock, bell=self.bell, grace_ms=GRACE)
        host = ParticipantHost(
            participant=order,
            database=self.database,
            clock=self.clock,
            new_id=new_id,
            outbox=Outbox(self.clock),
            bell=self.bell,
            source="order",
        )
        self.front_door = FrontDoor(
            database=self.database,
            coordinator=client,
            patience=patience,
            progress=self.progress,
            hold=lambda connection, placed: host.hold(connection, try_of(placed)),
            clock=self.clock,
            new_id=new_id,
            bell=self.bell,
            patience_seconds=PATIENCE,
            grace_ms=GRACE,
        )
        self.holds = Holds(
            front_door=self.front_door,
            coordinator=client,
            patience=patience,
            progress=self.progress,
            patience_seconds=PATIENCE,
            release_seconds=PATIENCE,
        )
        self.sweeper = OrderSweeper(
            database=self.database,
            coordinator=client,
            progress=self.progress,
            clock=self.clock,
            pause=0.01,
            call_seconds=0.2,
        )

    async def order(self, order_id: str) -> Order:
        return await self.front_door.find(order_id)

    async def status(self, order_id: str) -> Status:
        return (await self.order(order_id)).status

    async def is_now(self, order_id: str, status: Status) -> bool:
        found = await self.progress.find(order_id)
        return found is not None and found.status is status

    def confirm(self, order: Order) -> None:
        """What the participant does on its Confirm."""
        claim = OrderClaim(order_id=order.order_id)
        self.database.write_now(
            lambda connection: participant.place(connection, claim, self.context(order.transaction_id))
        )
        self.bell.ring(order.transaction_id)

    def cancel(self, order: Order, reason: str | None = "cancelled") -> None:
        """What the participant does on its Cancel."""
        claim = OrderClaim(order_id=order.order_id)
        context = self.context(order.transaction_id, reason)
        self.database.write_now(lambda connection: participant.discard(connection, claim, context))
        self.bell.ring(order.transaction_id)

    def context(self, transaction_id: str | None, reason: str | None = None) -> Context:
        return Context("branch", transaction_id, self.clock.now(), reason)

    def _decided(self, transaction_id: str, confirm: bool, reason: str | None) -> None:
        if not self.settles:
            return
        context = self.context(transaction_id, reason)
        self.database.write_now(
            lambda connection: (
                participant.place(connection, OrderClaim(order_id="any"), context)
                if confirm
                else participant.discard_untried(connection, context)
            )
        )
        self.coordinator.settle(transaction_id)
        self.bell.ring(transaction_id)


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 5) -> None:
    """Return once it holds; raise TimeoutError where it doesn't in time."""
    async with asyncio.timeout(seconds):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.001)


def draft(*, hold: int | None = None, amount: int = 1, qty: int = 1, customer: str = "guest") -> Draft:
    return Draft(customer, (Line("2", qty),), amount, hold)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    one = World()
    await one.database.start()
    one.database.write_now(lambda connection: SQLModel.metadata.create_all(connection, tables=list(TABLES)))
    yield one
    await one.database.close()


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with opened() as one:
        yield one
