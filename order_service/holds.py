"""Held orders: paying for one, and calling it off.

The coordinator owns the decision, so neither looks at a clock: paying adds the payment's branch to the held
transaction and then asks it to confirm, calling off asks it to cancel. Each step joins an earlier one whose
answer was lost.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from order_service import domain
from order_service.coordinator_client import CoordinatorClient, Decided, Declined
from order_service.domain import CUSTOMER_CANCELLED, RESERVATION_EXPIRED, Status
from order_service.front_door import FrontDoor, payment
from order_service.orders import Order
from order_service.patience import Patience
from order_service.progress import Progress
from shared.errors import Transient

RELEASE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Paid:
    """How paying ended. certain: False while the payment's answer or the decision is not known."""

    order: Order
    certain: bool


class Holds:
    """What a customer does with a held order. patience_seconds: as for placing an order; release_seconds:
    how long calling off waits until everything is released."""

    def __init__(
        self,
        *,
        front_door: FrontDoor,
        coordinator: CoordinatorClient,
        patience: Patience,
        progress: Progress,
        patience_seconds: float,
        release_seconds: float = RELEASE_SECONDS,
    ) -> None:
        self._front_door = front_door
        self._coordinator = coordinator
        self._patience = patience
        self._progress = progress
        self._patience_seconds = patience_seconds
        self._release_seconds = release_seconds

    async def pay(self, order_id: str, wait: float = 0.0) -> Paid:
        """Pay for a held order and have it confirmed; wait: seconds to wait for the final status.

        Raises NotFound; Refused: 402 as the payment says (the order stays held), 410 `reservation-expired`,
        409 `order-cancelled`, `order-not-held`.
        """
        end = asyncio.get_running_loop().time() + wait
        order = await self._front_door.find(order_id)
        paid = Paid(order, True)
        if domain.paying(order_id, order.status, order.reason):
            paid = await self._pay(order)
        left = end - asyncio.get_running_loop().time()
        if paid.certain and left > 0:
            return Paid(await self._front_door.until_final(paid.order, left), True)
        return paid

    async def call_off(self, order_id: str) -> Order:
        """Cancel a held order and wait a while until it is released everywhere: then it is CANCELLED.

        Raises NotFound; Refused: 409 `order-confirmed`, `order-not-held`; Transient where the coordinator is
        out of reach, because nothing is promised then.
        """
        order = await self._front_door.find(order_id)
        end = asyncio.get_running_loop().time() + self._release_seconds
        if domain.calling_off(order_id, order.status):
            order = await self._call_off(order)
        left = end - asyncio.get_running_loop().time()
        return await self._front_door.until_final(order, max(left, 0))

    async def _pay(self, order: Order) -> Paid:
        end = asyncio.get_running_loop().time() + self._patience_seconds
        transaction_id = order.transaction_id
        added = await self._patience.insist(
            f"payment of order {order.order_id}",
            lambda seconds: self._coordinator.add_branch(transaction_id, payment(order), seconds=seconds),
            self._patience_seconds,
        )
        match added:
            case None:
                return Paid(order, False)
            case Declined(problem):
                raise domain.payment_refusal(problem).error(order.order_id)
            case Decided(expired):
                return await self._look_up(order, expired)
        confirmed = await self._patience.insist(
            f"confirmation of order {order.order_id}",
            lambda seconds: self._coordinator.confirm(transaction_id, seconds=seconds),
            end - asyncio.get_running_loop().time(),
        )
        match confirmed:
            case None:
                return Paid(order, False)
            case Decided(expired):
                return await self._look_up(order, expired)
        return Paid(await self._progress.kept(order), True)

    async def _look_up(self, order: Order, expired: bool) -> Paid:
        """Find out what was decided instead; raise Refused where it was to cancel.

        A "too late" alone doesn't move the order: only a decision that is durable does.
        """
        after = await self._inquire(order)
        if after is None:
            return Paid(order, False)
        if after.status in domain.KEPT:
            return Paid(after, True)
        if after.status in domain.LET_GO or expired:
            reason = RESERVATION_EXPIRED if expired else after.reason
            raise domain.gone(order.order_id, reason)
        return Paid(after, False)

    async def _call_off(self, order: Order) -> Order:
        answer = await self._patience.insist(
            f"cancellation of order {order.order_id}",
            lambda seconds: self._coordinator.cancel(
                order.transaction_id, CUSTOMER_CANCELLED, seconds=seconds
            ),
            self._release_seconds,
        )
        if answer is None:
            raise _out_of_reach()
        if not isinstance(answer, Decided):
            return await self._progress.let_go(order, CUSTOMER_CANCELLED)
        after = await self._inquire(order)
        if after is None or after.status is Status.HELD:
            raise _out_of_reach()
        domain.calling_off(order.order_id, after.status)
        return after

    async def _inquire(self, order: Order) -> Order | None:
        inquiry = await self._patience.insist(
            f"inquiry about order {order.order_id}",
            lambda seconds: self._coordinator.inquire(order.transaction_id, seconds=seconds),
            self._patience_seconds,
        )
        return None if inquiry is None else await self._progress.learn(order, inquiry)


def _out_of_reach() -> Transient:
    return Transient(
        "The coordinator can't be asked now; the order is held as before. Try again.",
        slug="coordinator-unreachable",
    )
