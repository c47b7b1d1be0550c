"""The relay publishes what the outbox holds: in order, in batches, at once after the commit.

A row goes when the broker has acknowledged its message, so every message is published at least once. The look
for the next batch removes the rows of the last in the same transaction, so no row is on its way twice; of
several instances each publishes its own. A
topic that cannot be published to rests for a while and holds up no other; a message that never can be is
logged and dropped, and whoever waits for it is told in the transaction that removes its row.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import Connection

from shared.database.failures import is_store_failure
from shared.database.port import Database, Savepoint
from shared.errors import DatabaseUnavailable
from shared.messaging.broker import Message, Publisher, Unpublishable
from shared.messaging.outbox import Outbox, oldest, remove
from shared.messaging.pace import Pace

BATCH: Final = 500
POLL_SECONDS: Final = 1.0
"""The safety net: so often the outbox is looked at without any sign of a new row."""
REST_SECONDS: Final = (0.1, 2.0)
"""How long a topic rests that could not be published to: at first, at most."""
STOP_SECONDS: Final = 1.0

GivenUp = Callable[[Connection, Message], None]
"""Is told, within a transaction, of a message that can never be published."""

_Row = tuple[int, Message]
log = logging.getLogger(__name__)


class Relay:
    """Moves messages from one program's outbox to the broker.

    given_up: by topic, what follows from a message that can never be published; pace: of its rounds.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        publisher: Publisher,
        *,
        poll_seconds: float = POLL_SECONDS,
        given_up: Mapping[str, GivenUp] | None = None,
        pace: Pace | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._publisher = publisher
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()
        self._pace = pace or Pace()
        self._given_up = given_up or {}
        self._to_remove: list[int] = []
        self._unpublishable: list[Message] = []  # of those to remove
        self._resting: dict[str, tuple[float, float]] = {}  # topic -> until, seconds
        self._problem: str | None = None
        self._published = Counter(
            "handfast_outbox_published", "Messages that the broker acknowledged.", registry=registry
        )
        self._dropped = Counter(
            "handfast_outbox_dropped", "Messages that can never be published.", registry=registry
        )
        database.on_commit(self._wake.set)

    async def run(self) -> None:
        """Publish until cancelled."""
        try:
            while True:
                try:
                    await self._drain()
                except DatabaseUnavailable as error:
                    log.warning("The outbox can't be read now: %s", error)
                    self._problem = str(error)
                    await asyncio.sleep(self._poll_seconds)
                else:
                    await self._wait()
        finally:
            await self._stop()

    def health(self) -> str | None:
        """Return what is wrong, or None."""
        return self._problem

    async def _wait(self) -> None:
        """Wait for a sign of new rows, the end of a topic's rest, or the poll."""
        now = asyncio.get_running_loop().time()
        rested = min((until for until, _ in self._resting.values()), default=now + self._poll_seconds)
        try:
            async with asyncio.timeout(max(min(rested - now, self._poll_seconds), 0.0)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _drain(self) -> None:
        """Publish until nothing is left that may be published now."""
        loop = asyncio.get_running_loop()
        while True:
            await self._pace.wait()
            self._wake.clear()
            now = loop.time()
            resting = [topic for topic, (until, _) in self._resting.items() if until > now]
            rows = await self._look(resting)
            self._pace.found(len(rows), now)
            if rows:
                await self._publish(rows)
            elif self._problem is not None and not self._resting:
                self._problem = None
            if not self._to_remove and len(rows) < BATCH and not self._wake.is_set():
                return

    async def _look(self, resting: Sequence[str]) -> Sequence[_Row]:
        """Remove what was published last and read what comes next, in one transaction."""
        published, self._to_remove = self._to_remove, []
        unpublishable, self._unpublishable = self._unpublishable, []

        def work(connection: Connection) -> Sequence[_Row]:
            self._remove(connection, published, unpublishable)
            return oldest(connection, BATCH, without=resting, owner=self._outbox.owner)

        try:
            # The writer does it along with its next commit, which is cheaper than a reader's round trips.
            return await self._database.write(work)
        except DatabaseUnavailable:
            if published:
                log.warning("%d published rows are not removed and will be published again.", len(published))
            raise

    async def _publish(self, rows: Sequence[_Row]) -> None:
        results = await self._publisher.publish([message for _, message in rows])
        done: list[int] = []
        failed: dict[str, Exception] = {}
        worked: set[str] = set()
        dropped = 0
        for (row, message), error in zip(rows, results, strict=True):
            if error is None:
                done.append(row)
                worked.add(message.topic)
            elif isinstance(error, Unpublishable):
                done.append(row)
                dropped += 1
                self._unpublishable.append(message)
                log.error("A message for %s is dropped: %s", message.topic, error)
            else:
                failed[message.topic] = error
        self._published.inc(len(done) - dropped)
        self._dropped.inc(dropped)
        self._note(worked, failed)
        self._to_remove = done

    def _note(self, worked: set[str], failed: dict[str, Exception]) -> None:
        """Let topics that failed rest, longer each time; forget the rest of those that worked."""
        now = asyncio.get_running_loop().time()
        for topic in worked - failed.keys():
            self._resting.pop(topic, None)
        for topic, error in failed.items():
            if topic not in self._resting:
                log.warning("Nothing can be published to %s now: %s", topic, error)
            first, longest = REST_SECONDS
            seconds = min(2 * self._resting[topic][1], longest) if topic in self._resting else first
            self._resting[topic] = (now + seconds, seconds)
        if failed:
            self._problem = "; ".join(f"{topic}: {error}" for topic, error in failed.items())
        elif not self._resting:
            self._problem = None

    async def _stop(self) -> None:
        """Publish what others left behind, if that works at once; whoever comes next does the rest."""
        if self._problem is None:
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._drain()
            except (DatabaseUnavailable, TimeoutError) as error:
                log.info("The outbox is left as it is: %r", error)
        if self._to_remove:
            await self._remove_the_last()
        await self._publisher.stop()

    async def _remove_the_last(self) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._database.write(
                    partial(self._remove, rows=self._to_remove, unpublishable=self._unpublishable)
                )
        except (DatabaseUnavailable, TimeoutError) as error:
            log.warning("The last published rows are not removed and will be published again: %r", error)
        self._to_remove, self._unpublishable = [], []

    def _remove(self, connection: Connection, rows: Sequence[int], unpublishable: Sequence[Message]) -> None:
        remove(connection, rows)
        for message in unpublishable:
            if (told := self._given_up.get(message.topic)) is not None:
                try:
                    with Savepoint(connection):
                        told(connection, message)
                except Exception as error:
                    if is_store_failure(error):
                        raise
                    # It must not hold up what others wait for.
                    log.exception("What follows from a dropped message for %s failed.", message.topic)
