"""What becomes of a delivery that failed: another attempt later, or a dead letter kept and told of.

A letter, its `dlt-` record and what the listener adds are one transaction. Where that fails, the delivery
backs off and is attempted again: from its first retry on, or once before the letter, as the setting has it.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

from shared.clock import Clock
from shared.database.port import Database
from shared.errors import DatabaseUnavailable
from shared.identity import NewId
from shared.messaging.broker import Record
from shared.messaging.delivery import Delivery
from shared.messaging.failure import failure_of
from shared.messaging.letter_headers import dead_letter_message
from shared.messaging.letters import DeadLetter, keep
from shared.messaging.listener import Listener, Subject, subject_of
from shared.messaging.outbox import Outbox
from shared.messaging.redaction import Redactor
from shared.telemetry import trace

RECOVERY_SECONDS: Final = 1.0
"""The back-off after a letter could not be stored."""
DATABASE_SECONDS: Final = (0.5, 5.0)
"""The back-off while the database is out of reach: at first, at most."""

log = logging.getLogger(__name__)


class Recovery:
    """Decides about failed deliveries. letter_kept: is told the topic of each letter."""

    def __init__(
        self,
        *,
        group: str,
        database: Database,
        outbox: Outbox,
        clock: Clock,
        new_id: NewId,
        randomness: random.Random,
        reset_state_on_recovery_failure: bool,
        letter_kept: Callable[[str], None],
        redactor: Redactor | None = None,
    ) -> None:
        self._group = group
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._new_id = new_id
        self._randomness = randomness
        self._reset_on_failure = reset_state_on_recovery_failure
        self._letter_kept = letter_kept
        self._redactor = redactor or Redactor()
        self._database_seconds = DATABASE_SECONDS[0]
        self.database_problem: str | None = None

    async def fail(self, listener: Listener, failed: list[tuple[Delivery, Exception]]) -> int:
        """Deal with the failures of one round; return how many became letters."""
        now = asyncio.get_running_loop().time()
        waits: dict[int, float] = {}
        hopeless = []
        for delivery, error in failed:
            if isinstance(error, DatabaseUnavailable):
                delivery.due = now + self._database_seconds
                self.database_problem = str(error)
                continue
            delivery.attempts += 1
            delivery.failures += 1
            subject = subject_of(listener, delivery.record)
            if self._is_hopeless(listener, delivery, subject, error):
                hopeless.append((delivery, subject, error))
                continue
            # All failures of a round share their back-off, jitter included.
            if delivery.attempts not in waits:
                waits[delivery.attempts] = listener.retry.wait(delivery.attempts, self._randomness)
            delivery.due = now + waits[delivery.attempts]
        if self.database_problem is not None:
            self._database_seconds = min(2 * self._database_seconds, DATABASE_SECONDS[1])
        kept = await asyncio.gather(*(self._recover(listener, *one) for one in hopeless))
        return sum(kept)

    def database_works(self) -> None:
        """Note that something was written."""
        self.database_problem = None
        self._database_seconds = DATABASE_SECONDS[0]

    def _is_hopeless(
        self, listener: Listener, delivery: Delivery, subject: Subject | None, error: Exception
    ) -> bool:
        return subject is None or listener.is_fatal(error) or delivery.attempts >= listener.retry.deliveries

    async def _recover(
        self, listener: Listener, delivery: Delivery, subject: Subject | None, error: Exception
    ) -> bool:
        """Keep a letter; where that fails, let the delivery wait and return False."""
        record, failure = delivery.record, failure_of(error, self._redactor)
        described = (record.topic, record.partition, record.offset, delivery.failures, failure.message)

        def work(connection: Connection) -> DeadLetter:
            letter = keep(
                connection,
                record,
                subject=subject,
                failure=failure,
                attempts=delivery.failures,
                group=self._group,
                now=self._clock.now(),
                new_id=self._new_id,
            )
            self._outbox.add(connection, [dead_letter_message(record, letter, failure)])
            listener.on_dead_letter(connection, record, letter)
            return letter

        with trace(_traceparent(record)):
            try:
                letter = await self._database.write(work)
            except Exception as storing:  # noqa: BLE001 - whatever it is, the offset must not be committed
                if self._reset_on_failure:
                    delivery.attempts = 0
                delivery.due = asyncio.get_running_loop().time() + RECOVERY_SECONDS
                log.error(  # noqa: TRY400 - one line an attempt, for it may go on for long
                    "%s/%d@%d failed %d times (%s), and its letter can't be stored: %r", *described, storing
                )
                return False
            log.error("%s/%d@%d failed %d times (%s): dead letter %s.", *described, letter.id)
        delivery.done()
        self._letter_kept(record.topic)
        return True


def _traceparent(record: Record) -> str | None:
    value = record.header("traceparent")
    return None if value is None else value.decode("latin-1")
