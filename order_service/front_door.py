"""The front door: how a customer's order is taken.

    1. the order is written down: PENDING, with a transaction id of the service's own choosing, and held: in
       the same commit the order participant reserves its own branch, which so needs no Try
    2. the coordinator is asked for that transaction; it joins a repeat to what it has under the id
    3. the order moves along: CONFIRMING, HELD, or CANCELLING with what the customer is told

A crash between any two lines ends well, because 1 comes first: whoever repeats the order joins it, its
participant finds it by the transaction id, and the sweeper asks what became of it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from order_service import orders
from order_service.coordinator_client import Accepted, Branch, CoordinatorClient, Declined
from order_service.domain import (
    FINAL,
    LET_GO,
    REFUSALS,
    Draft,
    Line,
    Refusal,
    Status,
    refusal_for,
    refusal_of,
)
from order_service.orders import Order
from order_service.participant import own_branch_id
from order_service.patience import Patience
from order_service.progress import Progress
from shared.bell import Bell
from shared.clock import Clock, Millis
from shared.database.port import Database
from shared.errors import NotFound, Refused
from shared.idempotency import Intent, claim
from shared.identity import NewId

logger = logging.getLogger(__name__)

COMMITTED: Final = frozenset({"CONFIRMING", "CONFIRMED"})
TRIED: Final = "TRIED"


@dataclass(frozen=True, slots=True)
class Placed:
    """An order that was taken. fresh: by this request, not by an earlier one that it joined."""

    order: Order
    fresh: bool

    @property
    def refusal(self) -> Refusal | None:
        """Why it was refused, if it was; a hold that was given up later was not refused."""
        return refusal_of_order(self.order)


Hold = Callable[[Connection, Order], object]


class FrontDoor:
    """Takes orders. hold: reserves an order's own branch, in the transaction that writes it down;
    patience_seconds: how long an answer waits for an outcome that is not certain; grace_ms: how long after
    that the sweeper leaves an order alone."""

    def __init__(
        self,
        *,
        database: Database,
        coordinator: CoordinatorClient,
        patience: Patience,
        progress: Progress,
        hold: Hold,
        clock: Clock,
        new_id: NewId,
        bell: Bell,
        patience_seconds: float,
        grace_ms: Millis,
    ) -> None:
        self._database = database
        self._coordinator = coordinator
        self._patience = patience
        self._progress = progress
        self._hold = hold
        self._clock = clock
        self._new_id = new_id
        self._bell = bell
        self._patience_seconds = patience_seconds
        self._grace_ms = grace_ms

    async def place(
        self, draft: Draft, *, order_id: str | None = None, intent: Intent | None = None, wait: float = 0.0
    ) -> Placed:
        """Take an order, or join the one that has its id (or its idempotency key).

        intent: of a request with an idempotency key, which stands for its order as an order id does, so that
        whoever repeats it is answered from how that order is then; wait: seconds to wait for the final
        status. Returns once the outcome is certain, or PENDING when it isn't in time. Raises Refused 422
        `order-id-reused`, `idempotency-key-reused`.
        """
        end = asyncio.get_running_loop().time() + wait
        placed = await self._write_down(draft, order_id, intent)
        if placed.order.status is Status.PENDING:
            placed = Placed(await self._ask(placed.order), placed.fresh)
        left = end - asyncio.get_running_loop().time()
        if left > 0:
            placed = Placed(await self.until_final(placed.order, left), placed.fresh)
        return placed

    async def find(self, order_id: str) -> Order:
        """Return an order; raise NotFound."""
        order = await self._progress.find(order_id)
        if order is None:
            raise unknown_order(order_id)
        return order

    async def until_final(self, order: Order, seconds: float) -> Order:
        """Return the order once it is final (a hold: once it is held), or as it is when the time is up."""

        async def look() -> Order | None:
            found = await self.find(order.order_id)
            return found if found.status in FINAL or found.status is Status.HELD else None

        if order.status in FINAL or order.status is Status.HELD:
            return order
        return await self._bell.wait(order.transaction_id, look, seconds) or await self.find(order.order_id)

    async def _write_down(self, draft: Draft, order_id: str | None, intent: Intent | None) -> Placed:
        """Insert the order in one write; where its id or its key is known, find what they stand for."""
        order = self._new(draft, order_id)
        known = await self._database.write(lambda connection: self._add(connection, order, intent))
        if known is None:
            return Placed(order, True)
        if known.body_hash != order.body_hash:
            raise Refused(
                "order-id-reused",
                f"Order {known.order_id} was placed with another body; choose an order id of its own.",
                422,
            )
        return Placed(known, False)

    def _add(self, connection: Connection, order: Order, intent: Intent | None) -> Order | None:
        """Write an order down and hold it, once; return what its id or its key stands for already."""
        first = None if intent is None else claim(connection, intent, order.created_at, order.order_id)
        if first is not None:
            known = orders.find(connection, first)
            assert known is not None, f"a key stands for order {first}, which is not here"
            return known
        known = orders.add(connection, order)
        if known is None:
            self._hold(connection, order)
        return known

    async def _ask(self, order: Order) -> Order:
        """Ask the coordinator until its answer is certain or patience ends; repeats join."""
        answer = await self._patience.insist(
            f"order {order.order_id}",
            lambda seconds: self._coordinator.begin(
                order.transaction_id, branches(order), hold_seconds=order.hold_seconds, seconds=seconds
            ),
            self._patience_seconds,
        )
        match answer:
            case Declined(problem):
                return await self._decline(order, problem)
            case Accepted(state, _) if state in COMMITTED:
                return await self._progress.kept(order)
            case Accepted(state, deadline) if state == TRIED and order.hold_seconds is not None:
                expires_at = order.expires_at if deadline is None else deadline
                return await self._progress.held(order, expires_at or self._clock.now())
            case _:
                # Not certain: its participant or the sweeper may have learned more meanwhile.
                return await self.find(order.order_id)

    async def _decline(self, order: Order, problem: Mapping[str, Any]) -> Order:
        refusal = refusal_of(problem, held=order.hold_seconds is not None)
        after = await self._progress.refused(order, refusal)
        if after.status not in LET_GO:
            # The coordinator's word never changes, so one of the two answers was not the coordinator's.
            logger.error(
                "order %s is %s, yet its transaction %s was declined: %s",
                order.order_id,
                after.status,
                order.transaction_id,
                refusal.reason,
            )
        return after

    def _new(self, draft: Draft, order_id: str | None) -> Order:
        now = self._clock.now()
        held = draft.hold_seconds
        return Order(
            order_id=order_id or self._new_id(),
            transaction_id=self._new_id(),
            customer_id=draft.customer_id,
            lines=draft.lines,
            payment_amt=draft.payment_amt,
            hold_seconds=held,
            body_hash=draft.body_hash,
            status=Status.PENDING,
            reason=None,
            refusal=None,
            expires_at=None if held is None else now + held * 1_000,
            attempts=0,
            due_at=now + int(self._patience_seconds * 1_000) + self._grace_ms,
            created_at=now,
            updated_at=now,
        )


def branches(order: Order) -> list[Branch]:
    """Return the branches of an order's transaction: the payment of a hold is added when it is paid for."""
    own = Branch("order", {"orderId": order.order_id}, order.order_id, own_branch_id(order.transaction_id))
    placing = [own, _stock(order)]
    return placing if order.hold_seconds is not None else [*placing, payment(order)]


def payment(order: Order) -> Branch:
    """Return the branch that pays for an order."""
    claim = {
        "customerId": order.customer_id,
        "orderId": order.order_id,
        "paymentAmt": order.payment_amt,
    }
    return Branch("payment", claim, order.customer_id)


def refusal_of_order(order: Order) -> Refusal | None:
    """Return what the customer is told of an order that was refused, None where it wasn't."""
    if order.refusal is not None:
        return order.refusal
    if order.status not in LET_GO:
        return None
    reason = order.reason or ""
    # Without the words of the refusal (it came by way of the participant's Cancel), the reason has to do.
    refused = order.hold_seconds is None or reason in REFUSALS
    return refusal_for(reason) if refused else None


def _stock(order: Order) -> Branch:
    claim = {
        "items": [_item(line) for line in order.lines],
        "customerId": order.customer_id,
        "orderId": order.order_id,
    }
    key = order.lines[0].product_id if len(order.lines) == 1 else None
    return Branch("stock", claim, key)


def _item(line: Line) -> dict[str, Any]:
    return {"productId": line.product_id, "qty": line.qty}


def unknown_order(order_id: str) -> NotFound:
    """Return what is said of an order that there isn't, or that is another customer's."""
    return NotFound(f"There is no order {order_id}.", "unknown-order")
