"""Whether somebody captures the outbox from PostgreSQL's log: readiness tells, as it tells of the relay.

What is written while nobody does is kept in the log for the replication slot. Where there is no slot it is in
no log that anybody will read, and is published again like whatever a broker has forgotten.
"""

import asyncio
import logging
from typing import Final

from sqlalchemy import Connection, text

from shared.database.port import Database
from shared.errors import DatabaseUnavailable

LOOK_SECONDS: Final = 2.0
"""Pause between two looks at the slot."""
GRACE_SECONDS: Final = 10.0
"""How long a slot may be without a reader before that is told: a connector that moves needs a few seconds."""

_SLOT = text(
    "SELECT active FROM pg_replication_slots WHERE slot_name = :slot AND database = current_database()"
)
log = logging.getLogger(__name__)


class CaptureWatch:
    """Looks whether a replication slot has a reader. slot: its name."""

    def __init__(
        self,
        database: Database,
        slot: str,
        *,
        look_seconds: float = LOOK_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._database = database
        self._slot = slot
        self._look_seconds = look_seconds
        self._grace_seconds = grace_seconds
        self._read_at = float("-inf")  # the loop's time
        self._problem: str | None = "It isn't known yet whether the outbox is captured."

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                active = await self._database.read(self._look)
            except DatabaseUnavailable:
                # The database's own check tells of that; of the slot nothing is known that is newer.
                await asyncio.sleep(self._look_seconds)
                continue
            self._note(active)
            await asyncio.sleep(self._look_seconds)

    def health(self) -> str | None:
        """Return what is wrong, or None."""
        return self._problem

    def _look(self, connection: Connection) -> bool | None:
        """Say whether the slot has a reader; None: there is no such slot."""
        found: bool | None = connection.execute(_SLOT, {"slot": self._slot}).scalar()
        return found

    def _note(self, active: bool | None) -> None:
        now = asyncio.get_running_loop().time()
        if active:
            self._read_at = now
            self._problem = None
            return
        if now - self._read_at <= self._grace_seconds:
            return
        what = "There is no replication slot" if active is None else "Nobody reads the replication slot"
        problem = f"{what} {self._slot}: see that Debezium's connector runs."
        if problem != self._problem:
            log.warning(problem)
        self._problem = problem
