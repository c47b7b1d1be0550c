"""One member of a Kafka consumer group, over aiokafka: joining in the background, every wait bounded.

aiokafka finds a broker that went away again by itself, rejoins the group and begins at what is committed, or
at the earliest record where nothing is. It waits without a bound while it does, so each of its calls is put
under one here; a member that stays silent for long is given up and a new one joins.
"""

import asyncio
import functools
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiokafka
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import CommitFailedError, KafkaError

from shared.errors import Transient, Unreachable
from shared.messaging.broker import Record, TopicPartition
from shared.messaging.kafka_access import KafkaAccess
from shared.messaging.kafka_unreadable import SEARCH_SECONDS, search_unreadable

COMMIT_SECONDS: Final = 3.0
CLOSE_SECONDS: Final = 2.0
SILENCE_SECONDS: Final = 3.0
"""After so long without any answer to a fetch the broker counts as out of reach."""
TOPICS_SECONDS: Final = 0.1
"""So often who wants to join looks whether the topics are there."""
LOOK_SECONDS: Final = 1.0
"""So often a member looks which topics there are."""
REJOIN_SECONDS: Final = 30.0
"""After so long a silence a new member is made."""
_COMMIT_REQUEST: Final = GroupCoordinator._do_commit_offsets.__qualname__  # noqa: SLF001 - it has no other name

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """How a member behaves. fetch_wait_ms: how long the broker holds a fetch that finds nothing.

    session_seconds: after so long without a heartbeat the group goes on without the member; the embedded
    broker lets a joining member wait for half of it. join_seconds: the bound on joining.
    """

    fetch_wait_ms: int = 10
    session_seconds: float = 6.0
    heartbeat_seconds: float = 1.0
    join_seconds: float = 30.0
    request_seconds: float = 15.0


class KafkaSubscription:
    """A Subscription. Records come as they were stored: bytes, undecoded.

    partition_counts: asks the cluster which topics there are.
    """

    def __init__(
        self,
        access: KafkaAccess,
        group: str,
        topics: Sequence[str],
        *,
        client_id: str,
        membership: Membership,
        partition_counts: Callable[[], Awaitable[Mapping[str, int]]],
    ) -> None:
        self._access = access
        self._group = group
        self._topics = tuple(topics)
        self._client_id = client_id
        self._membership = membership
        self._partition_counts = partition_counts
        self._listeners: list[Callable[[frozenset[TopicPartition]], None]] = []
        self._joining: asyncio.Task[aiokafka.AIOKafkaConsumer] | None = None
        self._polled: Any = None
        self._heard_at = 0.0
        self._delivered: dict[Any, int] = {}  # the offset after the last record that fetch returned

    async def start(self) -> None:
        """Begin to join; fetch says how that goes."""
        self._delivered.clear()
        self._join_again()

    async def fetch(self, max_records: int, wait: float) -> Mapping[TopicPartition, Sequence[Record]]:
        consumer = await self._member(wait)
        try:
            async with asyncio.timeout(wait + 0.5):
                arrived = await consumer.getmany(timeout_ms=round(wait * 1000), max_records=max_records)
        except TimeoutError:
            arrived = {}  # The group is being rebalanced.
        except ValueError:
            arrived = await self._search_unreadable(consumer, max_records)
        except KafkaError as error:
            await self._give_up(consumer)
            raise Unreachable(f"The records can't be fetched: {error!r}") from error
        if arrived:
            self._heard_at = asyncio.get_running_loop().time()
            self._delivered.update({place: records[-1].offset + 1 for place, records in arrived.items()})
            return {
                TopicPartition(partition.topic, partition.partition): [_record(record) for record in records]
                for partition, records in arrived.items()
            }
        await self._check_silence(consumer)
        return {}

    def assigned(self) -> frozenset[TopicPartition]:
        consumer = self._joined()
        return frozenset() if consumer is None else _ours(consumer.assignment())

    def high_water(self) -> Mapping[TopicPartition, int]:
        consumer = self._joined()
        if consumer is None:
            return {}
        known = {partition: consumer.highwater(_theirs(partition)) for partition in self.assigned()}
        return {partition: offset for partition, offset in known.items() if offset is not None}

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        self._apply(aiokafka.AIOKafkaConsumer.pause, partitions)

    def resume(self, partitions: frozenset[TopicPartition]) -> None:
        self._apply(aiokafka.AIOKafkaConsumer.resume, partitions)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        consumer = self._joined()
        if consumer is not None and partition in self.assigned():
            consumer.seek(_theirs(partition), offset)
            self._delivered[_theirs(partition)] = offset

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        consumer = self._joined()
        if consumer is None:
            raise Unreachable("The consumer is not a member of its group now.")
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await consumer.commit({_theirs(partition): offset for partition, offset in offsets.items()})
        except (KafkaError, OSError, TimeoutError) as error:
            _heed_abandoned_commits()
            raise Unreachable(f"The offsets were not committed: {error!r}") from error

    def on_assignment_change(self, listener: Callable[[frozenset[TopicPartition]], None]) -> None:
        self._listeners.append(listener)

    async def stop(self) -> None:
        """Leave the group and close."""
        joining, self._joining = self._joining, None
        if joining is None:
            return
        if not joining.done():
            joining.cancel()
            await asyncio.wait([joining])
        elif not joining.cancelled() and joining.exception() is None:
            await _close(joining.result())

    def _join_again(self) -> None:
        self._joining = asyncio.get_running_loop().create_task(self._join(), name=f"join-{self._group}")

    async def _join(self) -> aiokafka.AIOKafkaConsumer:
        membership = self._membership
        async with asyncio.timeout(membership.join_seconds):
            await self._until_topics()
        consumer = aiokafka.AIOKafkaConsumer(
            **self._access.options(),
            client_id=self._client_id,
            group_id=self._group,
            enable_auto_commit=False,
            metadata_max_age_ms=round(LOOK_SECONDS * 1000),
            auto_offset_reset="earliest",
            fetch_max_wait_ms=membership.fetch_wait_ms,
            session_timeout_ms=round(membership.session_seconds * 1000),
            heartbeat_interval_ms=round(membership.heartbeat_seconds * 1000),
            request_timeout_ms=round(membership.request_seconds * 1000),
        )
        # By pattern, because asking for a topic by name has many a broker create it, with a number of
        # partitions of its own choosing; what isn't there yet joins in once it is seen.
        pattern = "|".join(re.escape(topic) for topic in self._topics)
        consumer.subscribe(pattern=f"^({pattern})$", listener=_Rebalance(self._tell_revoked))
        try:
            async with asyncio.timeout(membership.join_seconds):
                await consumer.start()
        except BaseException:
            await _close(consumer)
            raise
        commit_as_member(consumer._coordinator)  # noqa: SLF001 - aiokafka has no such setting
        self._heard_at = asyncio.get_running_loop().time()
        return consumer

    async def _until_topics(self) -> None:
        """Wait until the topics are there: whoever joins before has to join once more to get them."""
        while missing := set(self._topics) - (await self._partition_counts()).keys():
            log.debug("Group %s waits for topics: %s.", self._group, ", ".join(sorted(missing)))
            await asyncio.sleep(TOPICS_SECONDS)

    async def _member(self, wait: float) -> aiokafka.AIOKafkaConsumer:
        """Return the member, waiting for it to join; raise Unreachable where it hasn't within `wait`."""
        if self._joining is None:
            self._join_again()
        joining = self._joining
        assert joining is not None
        if not joining.done():
            await asyncio.wait([joining], timeout=wait)
        if not joining.done():
            raise Unreachable(f"The consumer is joining its group {self._group}.")
        try:
            return joining.result()
        except Transient as error:
            self._joining = None
            raise Unreachable(f"The consumer can't join its group {self._group}: {error.detail}") from error
        except (KafkaError, OSError, TimeoutError) as error:
            self._joining = None
            raise Unreachable(f"The consumer could not join its group {self._group}: {error!r}") from error

    def _joined(self) -> aiokafka.AIOKafkaConsumer | None:
        joining = self._joining
        if joining is None or not joining.done() or joining.cancelled() or joining.exception() is not None:
            return None
        return joining.result()

    async def _check_silence(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        """Raise Unreachable where the broker hasn't answered a fetch for long; give up where far too long."""
        now = asyncio.get_running_loop().time()
        awaited = consumer.assignment() - consumer.paused()
        polled = {partition: consumer.last_poll_timestamp(partition) for partition in awaited}
        if not awaited or polled != self._polled:
            self._polled, self._heard_at = polled, now
            return
        silence = now - self._heard_at
        if silence > REJOIN_SECONDS:
            await self._give_up(consumer)
        if silence > SILENCE_SECONDS:
            raise Unreachable(f"The broker has not answered a fetch for {silence:.0f} s.")

    async def _search_unreadable(
        self, consumer: aiokafka.AIOKafkaConsumer, max_records: int
    ) -> dict[Any, list[Any]]:
        try:
            async with asyncio.timeout(2 * SEARCH_SECONDS):
                return await search_unreadable(consumer, max_records, self._delivered)
        except (KafkaError, TimeoutError) as error:
            # It may have read on in vain: begin anew at what is committed.
            await self._give_up(consumer)
            raise Unreachable(f"The records can't be fetched: {error!r}") from error

    async def _give_up(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        log.warning("The member of group %s is given up; a new one joins.", self._group)
        self._joining = None
        self._tell_revoked(_ours(consumer.assignment()))
        await _close(consumer)

    def _apply(self, change: Callable[..., None], partitions: frozenset[TopicPartition]) -> None:
        consumer = self._joined()
        if consumer is not None:
            held = consumer.assignment()
            change(consumer, *(theirs for p in partitions if (theirs := _theirs(p)) in held))

    def _tell_revoked(self, revoked: frozenset[TopicPartition]) -> None:
        self._delivered.clear()
        if revoked:
            for listener in self._listeners:
                listener(revoked)


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    """Passes on what is revoked; what is assigned shows when its records come."""

    def __init__(self, tell_revoked: Callable[[frozenset[TopicPartition]], None]) -> None:
        self._tell_revoked = tell_revoked

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        self._tell_revoked(_ours(revoked))

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        log.info("Assigned: %s.", ", ".join(f"{p.topic}/{p.partition}" for p in sorted(assigned)) or "none")


def commit_as_member(coordinator: Any) -> None:
    """Have a GroupCoordinator commit nothing while it is no member of its group.

    A member that its broker doesn't know any more forgets its generation, and until it has joined again its
    commits would be those of a lone consumer, which every broker takes. One that came back empty would keep
    offsets of its earlier life, and what is stored there since would never be read.
    """
    commit = coordinator._do_commit_offsets  # noqa: SLF001 - the only place that knows the generation it sends

    @functools.wraps(commit)
    async def commit_offsets(assignment: Any, offsets: Any) -> None:
        if coordinator.generation < 0:
            raise CommitFailedError("It is no member of its group any more.")
        await commit(assignment, offsets)

    coordinator._do_commit_offsets = commit_offsets  # noqa: SLF001


def _heed_abandoned_commits() -> None:
    """Take note of how the requests end of commits that were given up.

    aiokafka shields them from being cancelled. Each fails when its connection breaks, and as nobody listens
    any more, Python would log an error.
    """
    for task in asyncio.all_tasks():
        if getattr(task.get_coro(), "__qualname__", "") == _COMMIT_REQUEST:
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


async def _close(consumer: aiokafka.AIOKafkaConsumer) -> None:
    """Leave the group and close. What hangs because the broker is away is cut off, part by part."""
    if await _bounded(consumer.stop()):
        return
    coordinator, fetcher = consumer._coordinator, consumer._fetcher  # noqa: SLF001 - aiokafka has no abort
    if coordinator is not None:
        await _bounded(coordinator._stop_heartbeat_task())  # noqa: SLF001
        await _bounded(coordinator._stop_commit_offsets_refresh_task())  # noqa: SLF001
    if fetcher is not None:
        await _bounded(fetcher.close())
    await _bounded(consumer._client.close())  # noqa: SLF001


async def _bounded(closing: Awaitable[Any]) -> bool:
    """Return whether it closed in time."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await closing
    except (KafkaError, OSError, TimeoutError) as error:
        log.debug("A part of a consumer did not close by itself: %r", error)
        return False
    return True


def _record(record: Any) -> Record:
    if isinstance(record, Record):
        return record
    headers = record.headers
    if headers and any(value is None for _, value in headers):
        headers = tuple((name, value or b"") for name, value in headers)
    return Record(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.timestamp_type,
        record.key,
        record.value,
        headers,
    )


def _ours(partitions: Iterable[Any]) -> frozenset[TopicPartition]:
    return frozenset(TopicPartition(partition.topic, partition.partition) for partition in partitions)


def _theirs(partition: TopicPartition) -> Any:
    return aiokafka.TopicPartition(partition.topic, partition.partition)
