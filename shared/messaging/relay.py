"""The relay publishes what the outbox holds: in order, in batches, at once after the commit.

A row goes when the broker has acknowledged its message, so every message is published at least once. The
next batch may be on its way while the rows of the last are still being removed; no row is on its way twice. A
topic that cannot be published to rests for a while and holds up no other; a message that never can be is
logged and dropped.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from shared.database.port import Database
from shared.errors import DatabaseUnavailable, Transient
from shared.messaging.broker import Message, Publisher, Unpublishable
from shared.messaging.outbox import Outbox, oldest, remove
from shared.messaging.pace import Pace

BATCH: Final = 500
POLL_SECONDS: Final = 1.0
"""The safety net: so often the outbox is looked at without any sign of a new row."""
REST_SECONDS: Final = (0.1, 2.0)
"""How long a topic rests that could not be published to: at first, at most."""
STOP_SECONDS: Final = 2.0

_Row = tuple[int, Message]
log = logging.getLogger(__name__)


class Relay:
    """Moves messages from one program's outbox to the broker."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        publisher: Publisher,
        *,
        poll_seconds: float = POLL_SECONDS,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._publisher = publisher
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()
        self._pace = Pace()
        self._removing_up_to = 0
        self._looked_beyond = False
        self._removal: asyncio.Task[None] | None = None
        self._resting: dict[str, tuple[float, float]] = {}  # topic -> until, seconds
        self._problem: str | None = None
        self._published = Counter(
            "handfast_outbox_published", "Messages that the broker acknowledged.", registry=registry
        )
        self._dropped = Counter(
            "handfast_outbox_dropped", "Messages that can never be published.", registry=registry
        )
        database.on_commit(self._after_commit)

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

    def _after_commit(self) -> None:
        # A row may have been added by a transaction that is still open when its sign is seen here. The look
        # that follows waits for its turn behind that transaction; where writers don't take turns, the poll
        # finds the row.
        if self._outbox.take_waiting():
            self._wake.set()

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
            after = self._removing_up_to
            self._looked_beyond = self._looked_beyond or after > 0
            # The writer reads them along with its next commit, which is cheaper than a reader's round trips.
            rows = await self._database.write(partial(oldest, most=BATCH, after=after, without=resting))
            self._pace.found(len(rows), now)
            if rows:
                await self._publish(rows)
            elif self._problem is not None and not self._resting:
                self._problem = None
            if len(rows) < BATCH and not self._wake.is_set():
                return

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
                log.error("A message for %s is dropped: %s", message.topic, error)
            else:
                failed[message.topic] = error
        self._published.inc(len(done) - dropped)
        self._dropped.inc(dropped)
        self._note(worked, failed)
        if done:
            await self._remove(done)

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

    async def _remove(self, rows: list[int]) -> None:
        """Remove rows in the background; one removal at a time."""
        await self._await_removal()
        self._removing_up_to = max(rows)
        self._removal = asyncio.get_running_loop().create_task(self._remove_now(rows), name="outbox-removal")

    async def _remove_now(self, rows: list[int]) -> None:
        try:
            await self._database.write(partial(remove, rows=rows))
        except Transient as error:
            log.warning(
                "%d published rows were not removed and will be published again: %s", len(rows), error
            )
        finally:
            self._removing_up_to = 0
            if self._looked_beyond:
                # Rows before those were out of sight meanwhile.
                self._looked_beyond = False
                self._wake.set()

    async def _await_removal(self) -> None:
        if self._removal is not None:
            await asyncio.wait([self._removal])
            self._removal = None

    async def _stop(self) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._await_removal()
        except TimeoutError:
            log.warning("The last published rows were not removed in time and will be published again.")
        await self._publisher.stop()
