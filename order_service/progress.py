"""How an order learns what became of it: what the coordinator says becomes the order's status, durably.

Each method is one short write, a compare-and-set along the domain's edges, and returns the order as it is
then. Whoever comes late (the participant's Confirm may have been faster) changes nothing and is told so.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from order_service import orders
from order_service.coordinator_client import Inquiry
from order_service.domain import (
    FINAL,
    UNKNOWN_REASON,
    Refusal,
    Status,
    cancel_reason,
)
from order_service.orders import Order
from shared.bell import Bell
from shared.clock import Clock, Millis
from shared.database.port import Database

LOOK_AGAIN_MS: Final = 1_000
"""The shortest time between two inquiries about one order; it doubles up to the longest."""
LOOK_AGAIN_AT_MOST_MS: Final = 300_000


class Progress:
    """Moves orders. bell: rung by the transaction's id, as the participant rings it too;
    grace_ms: how long past a hold's expiry the sweeper waits before it asks.
    """

    def __init__(self, *, database: Database, clock: Clock, bell: Bell, grace_ms: Millis) -> None:
        self._database = database
        self._clock = clock
        self._bell = bell
        self._grace_ms = grace_ms

    async def find(self, order_id: str) -> Order | None:
        return await self._database.read(lambda connection: orders.find(connection, order_id))

    async def kept(self, order: Order, status: Status = Status.CONFIRMING) -> Order:
        """The decision is confirm."""
        return await self._move(order, status, None)

    async def let_go(self, order: Order, reason: str | None, status: Status = Status.CANCELLING) -> Order:
        """The decision is cancel."""
        return await self._move(order, status, reason or UNKNOWN_REASON)

    async def held(self, order: Order, deadline: Millis) -> Order:
        """Everything is tried, and the order waits for its payment until the deadline."""
        now = self._clock.now()
        due_at = deadline + self._grace_ms
        after = replace(
            order, status=Status.HELD, expires_at=deadline, due_at=due_at, attempts=0, updated_at=now
        )
        return await self._apply(
            order,
            after,
            lambda connection: orders.hold(connection, order.transaction_id, now, deadline, due_at),
        )

    async def refused(self, order: Order, refusal: Refusal) -> Order:
        """The decision is cancel, because somebody said no: keep what the customer is told."""
        now = self._clock.now()

        def work(connection: Connection) -> Order:
            orders.refuse(connection, order.transaction_id, refusal, now)
            return _there(connection, order)

        after = await self._database.write(work)
        self._bell.ring(order.transaction_id)
        return after

    async def learn(self, order: Order, inquiry: Inquiry) -> Order:
        """Take in the answer to an inquiry.

        A transaction that is CONFIRMED or CANCELLED has settled every branch it ever had, so the order may
        follow it at once: this is how an order ends whose transaction never began.
        """
        if inquiry.decision == "confirm":
            settled = inquiry.state == Status.CONFIRMED
            return await self.kept(order, Status.CONFIRMED if settled else Status.CONFIRMING)
        if inquiry.decision == "cancel":
            settled = inquiry.state == Status.CANCELLED
            return await self.let_go(
                order, inquiry.reason, Status.CANCELLED if settled else Status.CANCELLING
            )
        if order.status is Status.PENDING and order.hold_seconds is not None and inquiry.state == "TRIED":
            return await self.held(order, inquiry.deadline or self._clock.now())
        return order

    async def look_again(self, looked_at: list[tuple[Order, Millis | None]]) -> None:
        """Have orders that could not be ended looked at again: with back-off, and after their deadlines."""
        now = self._clock.now()
        postponed = [
            (order.transaction_id, max(now + _back_off(order.attempts), (deadline or 0) + self._grace_ms))
            for order, deadline in looked_at
        ]
        if postponed:
            await self._database.write(lambda connection: orders.postpone(connection, postponed))

    async def _move(self, order: Order, status: Status, reason: str | None) -> Order:
        now = self._clock.now()
        if reason is not None:
            reason = order.reason or cancel_reason(reason, held=order.hold_seconds is not None)
        due_at = None if status in FINAL else now + orders.SETTLE_MS
        after = replace(order, status=status, reason=reason, due_at=due_at, attempts=0, updated_at=now)
        return await self._apply(
            order,
            after,
            lambda connection: orders.move(connection, order.transaction_id, status, now, reason),
        )

    async def _apply(self, order: Order, after: Order, move: Callable[[Connection], bool]) -> Order:
        # The common case writes once and reads nothing: what a successful move leaves behind is known.
        found = await self._database.write(
            lambda connection: None if move(connection) else _there(connection, order)
        )
        if found is None:
            self._bell.ring(order.transaction_id)
            return after
        return found


def _there(connection: Connection, order: Order) -> Order:
    found = orders.find(connection, order.order_id)
    assert found is not None, f"order {order.order_id} has vanished"
    return found


def _back_off(attempts: int) -> Millis:
    return int(min(LOOK_AGAIN_MS * 2 ** min(attempts, 20), LOOK_AGAIN_AT_MOST_MS))
