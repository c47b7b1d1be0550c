"""Refunds: booked in one commit, and where the payment was by card sent back through the gateway after it.

A refund through the gateway is PENDING until that has answered. Its amount is spoken for meanwhile, so that
refunds never exceed what was captured; one whose answer was lost is taken up again, looked up first, until it
is certain.
"""

import asyncio
import logging
from typing import Final

from sqlalchemy import Connection

from payment_service import accounts
from payment_service.accounts import RefundRow
from payment_service.cards import payment_by_card
from payment_service.domain import RefundState
from payment_service.participant import PaymentGateway
from shared.clock import Clock, Millis
from shared.database.port import Database
from shared.errors import Refused, Transient
from shared.idempotency import Intent, Result, create_once

FIRST_BACK_OFF_MS: Final = 1_000
LONGEST_BACK_OFF_MS: Final = 60_000
BATCH: Final = 16
"""So many refunds are taken up at once, so that a slow one holds up few others."""

_log = logging.getLogger(__name__)


class Refunds:
    """Makes refunds. timeout: the bound on one exchange with the gateway, in seconds."""

    def __init__(self, database: Database, clock: Clock, gateway: PaymentGateway, timeout: float) -> None:
        self._database = database
        self._clock = clock
        self._give_back = gateway.give_back
        self._timeout = timeout

    async def create(
        self, intent: Intent | None, payment_id: str, amount: int | None, reason: str, refund_id: str
    ) -> Result[RefundRow]:
        """Refund a payment (amount None: all that is left), once for each intent.

        The refund is PENDING where the gateway's answer isn't certain in time. Raises what accounts.refund
        raises; Refused `refund-declined` where the gateway declines it; Transient where there is none.
        """
        now = self._clock.now()

        def book(connection: Connection) -> tuple[str, RefundRow]:
            due_at = self._due_at(connection, payment_id, now)
            row = accounts.refund(
                connection, payment_id, amount, reason, refund_id=refund_id, now=now, due_at=due_at
            )
            return row.id, row

        result = await create_once(self._database, self._clock, intent, book, accounts.read_refund)
        row = result.value
        if row.state == RefundState.PENDING and not result.repeated:
            row = await self._carry_out(row)
        if row.state == RefundState.FAILED:
            raise Refused(
                "refund-declined", f"The payment gateway declines refund {row.id}.", refundId=row.id
            )
        return Result(row, result.repeated)

    async def sweep(self) -> int:
        """Take up the refunds that are due; return how many there were."""
        now = self._clock.now()
        due = await self._database.read(lambda connection: accounts.due_refunds(connection, now, BATCH))
        await asyncio.gather(*(self._take_up(refund, now) for refund in due))
        return len(due)

    async def run(self, sweep_seconds: float) -> None:
        """Sweep until cancelled; while the database is away, try again at the next sweep."""
        while True:
            try:
                await self.sweep()
            except Transient as error:
                _log.warning("The sweep of refunds is put off: %s", error.detail)
            await asyncio.sleep(sweep_seconds)

    @property
    def _lease_ms(self) -> Millis:
        # It outlives the call, so that nobody takes up what is still under way.
        return round(self._timeout * 1000) + 2_000

    def _due_at(self, connection: Connection, payment_id: str, now: Millis) -> Millis | None:
        if payment_by_card(connection, payment_id) is None:
            return None
        if self._give_back is None:
            raise Transient(
                f"Payment {payment_id} was by card, and this service is set up without a gateway for cards.",
                "gateway-missing",
            )
        return now + self._lease_ms

    async def _take_up(self, refund: RefundRow, now: Millis) -> None:
        pause = min(FIRST_BACK_OFF_MS << min(refund.attempts, 16), LONGEST_BACK_OFF_MS)
        due_at = now + self._lease_ms + pause
        taken = await self._database.write(
            lambda connection: accounts.take_up_refund(connection, refund, due_at)
        )
        if taken is not None:
            await self._carry_out(taken)

    async def _carry_out(self, refund: RefundRow) -> RefundRow:
        """Send it through the gateway; return it as it stands after that."""
        if self._give_back is None:
            return refund
        try:
            async with asyncio.timeout(self._timeout):
                await self._give_back(refund)
        except Refused as refusal:
            _log.error("Refund %s is declined by the gateway: %s", refund.id, refusal.detail)
            return await self._settle(refund, RefundState.FAILED)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the refund may have happened
            _log.warning("The outcome of refund %s is unknown: %s", refund.id, error, exc_info=error)
            return refund
        return await self._settle(refund, RefundState.DONE)

    async def _settle(self, refund: RefundRow, state: RefundState) -> RefundRow:
        now = self._clock.now()
        return await self._database.write(
            lambda connection: accounts.settle_refund(connection, refund, state, now)
        )
