"""Letters are settled when their record is applied after all, by a replay or because it came again.

On the hot path nothing is asked: which topics have unsettled letters is known here, refreshed every few
seconds, and what was applied in between is looked at again after a refresh that brought news.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from shared.clock import Clock
from shared.database.port import Database
from shared.messaging.broker import Record
from shared.messaging.letters import replayed_letters, settle, settle_by_id, topics_with_letters
from shared.messaging.listener import Listener, subject_of
from shared.messaging.outbox import Outbox
from shared.messaging.replays import PATIENCE_MS, publish_lost_replays

REFRESH_SECONDS: Final = 2.0
REMEMBERED_RECORDS: Final = 5_000
log = logging.getLogger(__name__)


class Settlement:
    """Settles the letters of one program's topics, and publishes replays again that the broker lost."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        clock: Clock,
        *,
        refresh_seconds: float = REFRESH_SECONDS,
        patience_ms: int = PATIENCE_MS,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._patience_ms = patience_ms
        self._lettered: frozenset[str] = frozenset()
        self._refresh_at = 0.0
        self._recent: deque[tuple[Listener, Sequence[Record]]] = deque()
        self._recent_count = 0

    def letter_kept(self, topic: str) -> None:
        """Note that a topic has an unsettled letter."""
        self._lettered |= {topic}

    async def applied(self, listener: Listener, records: Sequence[Record]) -> None:
        """Settle the letters of records that were applied, if there are any; raise DatabaseUnavailable."""
        replayed = replayed_letters(records)
        if listener.topic in self._lettered or replayed:
            await self._settle(listener, records, replayed)
        self._remember(listener, records)

    async def refresh(self) -> None:
        """Every few seconds, look which topics have letters; raise DatabaseUnavailable."""
        now = asyncio.get_running_loop().time()
        if now < self._refresh_at:
            return
        self._refresh_at = now + self._refresh_seconds
        known, self._lettered = self._lettered, await self._database.read(topics_with_letters)
        recent, self._recent, self._recent_count = self._recent, deque(), 0
        for listener, records in recent:
            if listener.topic in self._lettered - known:
                await self._settle(listener, records, set())
        if self._lettered:
            await self._database.write(self._publish_lost)

    def _remember(self, listener: Listener, records: Sequence[Record]) -> None:
        self._recent.append((listener, records))
        self._recent_count += len(records)
        while self._recent_count > REMEMBERED_RECORDS:
            _, forgotten = self._recent.popleft()
            self._recent_count -= len(forgotten)

    async def _settle(self, listener: Listener, records: Sequence[Record], replayed: set[str]) -> None:
        subjects = (subject_of(listener, record) for record in records)
        branch_ids = {subject.branch_id for subject in subjects if subject is not None}

        def work(connection: Connection) -> int:
            now = self._clock.now()
            by_replay = settle_by_id(connection, replayed, now)
            return by_replay + settle(connection, listener.topic, branch_ids, now)

        settled = await self._database.write(work)
        if settled:
            log.info("%d dead letters of %s are settled.", settled, listener.topic)

    def _publish_lost(self, connection: Connection) -> None:
        count = publish_lost_replays(
            connection, outbox=self._outbox, now=self._clock.now(), patience_ms=self._patience_ms
        )
        if count:
            log.warning("%d replays were published again: nothing was heard of them.", count)
