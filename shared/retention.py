"""Retention: what nobody needs any more is deleted, a little at a time, by one loop in each program.

A `Sweep` deletes one kind of rows, oldest first, and yields after each batch how many went; the loop rests in
between, so that whoever waits to write comes in. Several instances may sweep the same database: what one has
deleted the others don't find. What may go when is each sweep's own affair; docs/operations.md lists it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import Connection

from shared.clock import Clock, Millis
from shared.database.port import Database
from shared.errors import Transient

Sweep = Callable[[], AsyncIterator[int]]
"""Yields how many rows each batch has deleted, and ends when no more may go for now."""


Delete = Callable[[Connection, Millis, int], int]
"""Deletes rows that are older than an instant, up to so many; returns how many they were."""

BATCH: Final = 50
"""Rows that one write deletes at most, some milliseconds' work."""
REST_SECONDS: Final = 0.05
"""Between two batches. With it, 1,000 rows of a kind go in a second at most."""

_log = logging.getLogger(__name__)


class Retention:
    """Has the sweeps of one program done. sweeps: by what they delete; pause_seconds: between two rounds."""

    def __init__(
        self, sweeps: Mapping[str, Sweep], *, pause_seconds: float, registry: CollectorRegistry | None = None
    ) -> None:
        self._sweeps = sweeps
        self._pause_seconds = pause_seconds
        self._deleted: Counter | None = None
        if registry is not None:
            self._deleted = Counter(
                "handfast_retention_deleted",
                "Rows that went after their retention, by what they were.",
                ["kind"],
                registry=registry,
            )

    async def run(self) -> None:
        """Sweep until cancelled, a round after each pause."""
        while True:
            await asyncio.sleep(self._pause_seconds)
            await self.sweep()

    async def sweep(self) -> None:
        """Do one round; what can't be done now (a database or the coordinator is away) waits for the next."""
        for kind, sweep in self._sweeps.items():
            deleted = 0
            try:
                async for gone in sweep():
                    deleted += gone
                    self._count(kind, gone)
                    await asyncio.sleep(REST_SECONDS)
            except Transient as error:
                _log.warning("Retention of %s is put off: %s", kind, error.detail)
            if deleted:
                _log.info("%d %s went after their retention.", deleted, kind)

    def _count(self, kind: str, deleted: int) -> None:
        if self._deleted is not None:
            self._deleted.labels(kind).inc(deleted)


def in_batches(database: Database, clock: Clock, span: Millis, delete: Delete) -> Sweep:
    """Return the sweep that repeats a write until it finds less than a batch.

    span: how long rows are kept, in ms.
    """

    async def sweep() -> AsyncIterator[int]:
        deleted = BATCH
        while deleted == BATCH:
            deleted = await database.write(_bound(delete, clock.now() - span))
            yield deleted

    return sweep


def _bound(delete: Delete, before: Millis) -> Callable[[Connection], int]:
    return lambda connection: delete(connection, before, BATCH)
