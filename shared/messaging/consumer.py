"""The consumer runtime: Kafka records in, verdicts out, offsets committed only after what they stand for.

Whatever has arrived is handed to its topic's listener as one batch. A record that fails waits for its next
attempt while its partition is paused (the member stays in its group, other partitions go on); one that fails
for good is kept as a dead letter. Then the offsets are committed, up to the first record that still waits.
The database out of reach is nobody's fault: it costs no attempt and makes no letter, everything waits.
"""

import asyncio
import logging
import random
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter

from shared.clock import Clock
from shared.database.port import Database
from shared.errors import DatabaseUnavailable, Transient
from shared.identity import NewId
from shared.messaging.broker import Record, Subscription, TopicPartition
from shared.messaging.delivery import Delivery, Interrupted, PartitionState
from shared.messaging.lag import LagCollector
from shared.messaging.listener import Listener, Subject, Verdict
from shared.messaging.outbox import Outbox
from shared.messaging.pace import SHORTEST_SECONDS, Pace
from shared.messaging.recovery import Recovery
from shared.messaging.redaction import Redactor
from shared.messaging.settlement import Settlement

__all__ = ["Consumer", "Listener", "Subject", "Verdict"]

BATCH: Final = 500
MOST_WAITING: Final = 1_000
"""Records that may wait in one partition; beyond, it stays paused."""
IDLE_SECONDS: Final = 1.0
LISTEN_SECONDS: Final = 0.1
"""How long a partition with waiting records is listened to after each back-off."""
COMMIT_SECONDS: Final = 0.05
"""Commits begin at least so far apart; what a crash leaves uncommitted comes again and changes nothing."""
STOP_SECONDS: Final = 5.0
BATCH_SECONDS: Final = 1.0
"""How long a batch that is being applied may take on once the consumer is stopped."""

log = logging.getLogger(__name__)


class Consumer:
    """Feeds the listeners from one subscription.

    group: the consumer group's name, for the letters; reset_state_on_recovery_failure: whether a record whose
    letter could not be stored starts over with its retries, or is delivered once more before its letter is
    tried again; redactor: takes secrets out of what letters say of a failure.
    """

    def __init__(
        self,
        subscription: Subscription,
        listeners: Sequence[Listener],
        *,
        group: str,
        database: Database,
        outbox: Outbox,
        clock: Clock,
        new_id: NewId,
        randomness: random.Random,
        reset_state_on_recovery_failure: bool = True,
        settlement: Settlement | None = None,
        redactor: Redactor | None = None,
        pace: Pace | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._subscription = subscription
        self._listeners = {listener.topic: listener for listener in listeners}
        self._group = group
        self._settlement = settlement or Settlement(database, outbox, clock)
        self._recovery = Recovery(
            group=group,
            database=database,
            outbox=outbox,
            clock=clock,
            new_id=new_id,
            randomness=randomness,
            reset_state_on_recovery_failure=reset_state_on_recovery_failure,
            letter_kept=self._settlement.letter_kept,
            redactor=redactor,
        )
        self._states: dict[TopicPartition, PartitionState] = {}
        self._interrupted = Interrupted()
        self._paused: set[TopicPartition] = set()
        self._committing: asyncio.Task[None] | None = None
        self._pace = pace or Pace()
        self._next_commit = 0.0
        self._broker_problem: str | None = "the consumer has not joined its group yet"
        self._records = Counter(
            "handfast_records",
            "Deliveries of records, by what came of them: applied, failed or dead_lettered.",
            ["topic", "result"],
            registry=registry,
        )
        if registry is not None:
            registry.register(LagCollector(group, self.lag_by_topic))
        subscription.on_assignment_change(self._forget)

    async def run(self) -> None:
        """Consume until cancelled; may be called again then."""
        self._forget(frozenset(self._states))
        try:
            await self._start()
            while True:
                await self._round()
        finally:
            await self._stop()

    def health(self) -> str | None:
        """Return what is wrong, or None."""
        return self._broker_problem or self._recovery.database_problem

    def lag(self) -> int | None:
        """Return how many records are known to be there and not dealt with; None where that isn't known.

        Of several members of a group each knows of its own partitions only.
        """
        by_topic = self.lag_by_topic()
        assigned = {partition.topic for partition in self._subscription.assigned()}
        return sum(by_topic.values()) if assigned and assigned == by_topic.keys() else None

    def lag_by_topic(self) -> dict[str, int]:
        """Return the same for each topic that this member has partitions of, where it is known."""
        if self._broker_problem is not None:
            return {}
        assigned, newest = self._subscription.assigned(), self._subscription.high_water()
        unknown = {partition.topic for partition in assigned - newest.keys()}
        found: dict[str, int] = {}
        for partition in assigned:
            if partition.topic not in unknown:
                state = self._states.get(partition)
                behind = 0 if state is None else max(newest[partition] - state.committable(), 0)
                found[partition.topic] = found.get(partition.topic, 0) + behind
        return found

    def share(self) -> tuple[int, int | None]:
        """Return how many partitions are this member's, and how many records it is behind in them.

        None where that isn't known. A member to which none fell is not behind.
        """
        partitions = len(self._subscription.assigned())
        return partitions, self.lag() if partitions or self._broker_problem is not None else 0

    async def _start(self) -> None:
        while True:
            try:
                await self._subscription.start()
            except Transient as error:
                self._broker_problem = str(error)
                await asyncio.sleep(IDLE_SECONDS)
            else:
                return

    async def _round(self) -> None:
        """Fetch, attempt what is due, pause what has to wait, commit."""
        loop = asyncio.get_running_loop()
        await self._pace.wait()
        arrived = await self._fetch(loop.time())
        if arrived:
            self._pace.found(sum(map(len, arrived.values())), loop.time())
        self._take(arrived, loop.time())
        now = loop.time()
        self._reopen(now)
        due: dict[str, list[Delivery]] = {}
        for partition, state in self._states.items():
            if state.waiting:
                due.setdefault(partition.topic, []).extend(state.due(now))
        if due:
            await self._to_the_end(self._attempt_due(due))
        self._pause(loop.time())
        self._commit(loop.time())
        await self._look_after_letters()

    async def _attempt_due(self, due: Mapping[str, Sequence[Delivery]]) -> None:
        attempts = [self._attempt_all(topic, deliveries) for topic, deliveries in due.items()]
        if len(attempts) == 1:
            await attempts[0]  # The usual case needs no further task.
        else:
            await asyncio.gather(*attempts)

    async def _to_the_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work, and when cancelled meanwhile end it first: what is applied can then be committed."""
        task = asyncio.get_running_loop().create_task(work, name=f"batch-{self._group}")
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task], timeout=BATCH_SECONDS)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise

    async def _fetch(self, now: float) -> Mapping[TopicPartition, Sequence[Record]]:
        wake_ups = [state.wake_up(now) for state in self._states.values()]
        if self._committable():
            wake_ups.append(max(self._next_commit, now + SHORTEST_SECONDS))
        until = min((at for at in wake_ups if at is not None), default=now + IDLE_SECONDS)
        wait = max(min(until - now, IDLE_SECONDS), 0.0)
        try:
            arrived = await self._subscription.fetch(BATCH, wait)
        except Transient as error:
            if self._broker_problem is None:
                log.warning("The consumer of group %s can't fetch: %s", self._group, error)
            self._broker_problem = str(error)
            # It may have failed at once: what remains of the wait keeps this from spinning.
            await asyncio.sleep(max(now + wait - asyncio.get_running_loop().time(), 0.01))
            return {}
        self._broker_problem = None
        return arrived

    def _take(self, arrived: Mapping[TopicPartition, Sequence[Record]], now: float) -> None:
        for partition, records in arrived.items():
            state = self._states.get(partition)
            if state is not None and state.starts_over(records):
                log.warning("%s/%d begins anew: what waited there is forgotten.", *partition)
                state = None
            if state is None:
                state = self._states[partition] = PartitionState(records[0].offset)
            state.take(records, now)
            self._interrupted.go_on(partition, state)

    async def _attempt_all(self, topic: str, due: Sequence[Delivery]) -> None:
        for start in range(0, len(due), BATCH):
            await self._attempt(self._listeners[topic], due[start : start + BATCH])

    async def _attempt(self, listener: Listener, due: Sequence[Delivery]) -> None:
        """Hand records to their listener, and deal with each verdict."""
        verdicts = await _handle(listener, [delivery.record for delivery in due])
        applied = [delivery for delivery, verdict in zip(due, verdicts, strict=True) if verdict is None]
        failed = [
            (delivery, error) for delivery, error in zip(due, verdicts, strict=True) if error is not None
        ]
        if applied:
            try:
                await self._settlement.applied(listener, [delivery.record for delivery in applied])
            except DatabaseUnavailable as error:
                # Their letters must be settled before the commit; applying them again changes nothing.
                failed += [(delivery, error) for delivery in applied]
            else:
                self._recovery.database_works()
                for delivery in applied:
                    delivery.done()
                self._records.labels(listener.topic, "applied").inc(len(applied))
        if failed:
            letters = await self._recovery.fail(listener, failed)
            self._records.labels(listener.topic, "failed").inc(len(failed))
            self._records.labels(listener.topic, "dead_lettered").inc(letters)

    def _reopen(self, now: float) -> None:
        """Listen for a moment to partitions whose back-off is over: newcomers are attempted with the rest."""
        reopened = set()
        for partition in self._paused:
            state = self._states[partition]
            if len(state.waiting) < MOST_WAITING and state.has_due(now):
                state.listening_until = now + LISTEN_SECONDS
                reopened.add(partition)
        if reopened:
            self._paused -= reopened
            self._subscription.resume(frozenset(reopened))

    def _pause(self, now: float) -> None:
        """Pause the partitions in which records wait, resume those in which none do any more."""
        backing_off = {
            partition
            for partition, state in self._states.items()
            if state.waiting and (now >= state.listening_until or len(state.waiting) >= MOST_WAITING)
        }
        if pausing := backing_off - self._paused:
            self._subscription.pause(frozenset(pausing))
        if resuming := {partition for partition in self._paused if not self._states[partition].waiting}:
            self._subscription.resume(frozenset(resuming))
        self._paused = (self._paused | pausing) - resuming

    def _commit(self, now: float) -> None:
        """Commit in the background what is done; the next round looks again at what was not taken."""
        if now < self._next_commit or (self._committing is not None and not self._committing.done()):
            return
        self._next_commit = now + COMMIT_SECONDS
        if offsets := self._committable():
            loop = asyncio.get_running_loop()
            self._committing = loop.create_task(self._commit_now(offsets), name=f"commit-{self._group}")

    def _committable(self) -> dict[TopicPartition, int]:
        return {
            partition: offset
            for partition, state in self._states.items()
            if (offset := state.committable()) > state.committed
        }

    async def _commit_now(self, offsets: dict[TopicPartition, int]) -> None:
        states = {partition: self._states[partition] for partition in offsets}
        try:
            await self._subscription.commit(offsets)
        except Transient as error:
            log.info("Group %s: %s", self._group, error)
            return
        for partition, offset in offsets.items():
            states[partition].committed = offset

    def _forget(self, revoked: frozenset[TopicPartition]) -> None:
        """Let go of partitions: whoever gets them begins at what was committed."""
        for partition in revoked:
            if (state := self._states.pop(partition, None)) is not None:
                self._interrupted.keep(partition, state)
            self._paused.discard(partition)
        if self._committing is not None:
            self._committing.cancel()

    async def _look_after_letters(self) -> None:
        try:
            await self._settlement.refresh()
        except DatabaseUnavailable as error:
            log.warning("The dead letters can't be looked after now: %s", error)

    async def _stop(self) -> None:
        """Commit what is done and leave the group, within a bounded time."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                if self._committing is not None:
                    await asyncio.wait([self._committing])
                if offsets := self._committable():
                    await self._commit_now(offsets)
        except TimeoutError:
            log.warning(
                "Group %s: the last offsets were not committed; records will come again.", self._group
            )
        try:
            async with asyncio.timeout(2 * STOP_SECONDS):
                await self._subscription.stop()
        except TimeoutError:
            log.warning("Group %s was not left in time.", self._group)


async def _handle(listener: Listener, records: Sequence[Record]) -> Sequence[Verdict]:
    """Return one verdict a record. A handler that raises over a batch is given its records one by one."""
    try:
        verdicts = await listener.handle(records)
        assert len(verdicts) == len(records), f"{len(records)} records got {len(verdicts)} verdicts"
    except DatabaseUnavailable as error:
        return [error] * len(records)
    except Exception as error:
        if len(records) == 1:
            return [error]
        log.exception("The handler of %s failed over a batch; its records are tried alone.", listener.topic)
        return [(await _handle(listener, [record]))[0] for record in records]
    return verdicts
