"""The sweeper: no order is left behind.

Every order that is not final has an instant at which somebody looks after it: PENDING when its front door has
lost patience, HELD when it has expired, CONFIRMING and CANCELLING when they take long. The sweeper never
decides; it asks the coordinator, whose answer is durable even for a transaction that it never heard of.
Where the coordinator is out of reach, the orders stay as they are and are asked about again with back-off.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from order_service import orders
from order_service.coordinator_client import CoordinatorClient, CoordinatorRefused, Inquiry
from order_service.orders import Order
from order_service.progress import Progress
from shared.clock import Clock, Millis
from shared.database.port import Database
from shared.errors import Transient

logger = logging.getLogger(__name__)

MOST: Final = 100
"""Orders that one sweep looks at: with the pause between two sweeps, the limit on inquiries."""
AT_ONCE: Final = 10
"""Inquiries under way at the same time."""


class OrderSweeper:
    """Asks what became of orders of which nobody speaks any more. pause: seconds between two sweeps;
    call_seconds: the bound of one inquiry."""

    def __init__(
        self,
        *,
        database: Database,
        coordinator: CoordinatorClient,
        progress: Progress,
        clock: Clock,
        pause: float,
        call_seconds: float,
    ) -> None:
        self._database = database
        self._coordinator = coordinator
        self._progress = progress
        self._clock = clock
        self._pause = pause
        self._call_seconds = call_seconds
        # Other sweepers leave alone what one has taken up for longer than an inquiry takes.
        self._claim_ms: Millis = round(2_000 * call_seconds)

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            try:
                swept = await self.sweep()
            except Transient as error:
                logger.warning("orders can't be swept now: %s", error.detail)
                swept = 0
            await asyncio.sleep(0 if swept == MOST else self._pause)

    async def sweep(self) -> int:
        """Look after what is due; return how many orders could be asked about."""
        asked = 0
        for _ in range(MOST // AT_ONCE):
            group = await self._claim()
            looks = await asyncio.gather(*(self._look_after(order) for order in group))
            await self._progress.look_again([(look.order, look.deadline) for look in looks if not look.moved])
            answered = sum(look.answered for look in looks)
            asked += answered
            if answered == 0 or len(group) < AT_ONCE:
                # That was the last, or nobody is there: the rest keeps until the next sweep.
                break
        return asked

    async def _claim(self) -> list[Order]:
        now = self._clock.now()
        return await self._database.write(
            lambda connection: orders.claim_due(connection, now, now + self._claim_ms, AT_ONCE)
        )

    async def _look_after(self, order: Order) -> "_Look":
        """Ask about one order and let it learn the answer."""
        try:
            inquiry = await self._coordinator.inquire(order.transaction_id, seconds=self._call_seconds)
            after = await self._progress.learn(order, inquiry)
        except (Transient, CoordinatorRefused) as error:
            logger.warning("order %s is %s and in doubt: %s", order.order_id, order.status, error.detail)
            return _Look(order, answered=False, moved=False)
        if after.status is order.status:
            return _Look(order, answered=True, moved=False, deadline=_worth_waiting_for(inquiry))
        logger.info(
            "order %s of transaction %s was %s and nobody spoke for it: it is %s now",
            order.order_id,
            order.transaction_id,
            order.status,
            after.status,
        )
        return _Look(order, answered=True, moved=True)


@dataclass(frozen=True, slots=True)
class _Look:
    """What came of looking after an order. deadline: before which asking again is pointless."""

    order: Order
    answered: bool
    moved: bool
    deadline: Millis | None = None


def _worth_waiting_for(inquiry: Inquiry) -> Millis | None:
    return inquiry.deadline if inquiry.decision == "wait" else None
