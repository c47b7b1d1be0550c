"""A broker without sockets: topics, partitions, consumer groups and offsets in memory, deterministic.

It can be taken away (`available = False`), can forget everything (`forget()`), and can refuse messages
(`refuse`): what a real broker does to its clients.
"""

import asyncio
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from shared.clock import Clock
from shared.errors import Unreachable
from shared.messaging.broker import Message, Record, TopicPartition


@dataclass
class _Group:
    members: list["MemorySubscription"] = field(default_factory=list)
    offsets: dict[TopicPartition, int] = field(default_factory=dict)


class MemoryBroker:
    """A Broker in one event loop. refuse: says why a message is not taken, or None."""

    def __init__(self, clock: Clock) -> None:
        self.available = True
        self.refuse: Callable[[Message], Exception | None] = lambda _message: None
        self._clock = clock
        self._topics: dict[str, list[list[Record]]] = {}
        self._groups: dict[str, _Group] = {}
        self._arrival = asyncio.Event()

    def publisher(self) -> "MemoryPublisher":
        return MemoryPublisher(self)

    def subscription(self, group: str, topics: Sequence[str]) -> "MemorySubscription":
        return MemorySubscription(self, group, topics)

    async def ensure_topics(self, topics: Mapping[str, int]) -> frozenset[str]:
        self.check_available()
        missing = frozenset(topics.keys() - self._topics.keys())
        for topic in missing:
            self._topics[topic] = [[] for _ in range(topics[topic])]
        if missing:
            self._rebalance_all()
        return missing

    async def close(self) -> None:
        self._groups.clear()

    def forget(self) -> None:
        """Lose every topic, record, group and offset, as a broker does that kept them in memory only."""
        self._topics.clear()
        for group in self._groups.values():
            group.offsets.clear()
        self._rebalance_all()

    def records(self, topic: str) -> list[Record]:
        """Return all that was published to a topic, partition by partition."""
        return [record for partition in self._topics.get(topic, []) for record in partition]

    def committed(self, group: str) -> dict[TopicPartition, int]:
        """Return a group's offsets."""
        return dict(self._groups[group].offsets) if group in self._groups else {}

    def check_available(self) -> None:
        """Raise Unreachable while the broker is away."""
        if not self.available:
            raise Unreachable("The broker is away.")

    def append(self, message: Message) -> None:
        """Take one message; raise what keeps it from being taken."""
        self.check_available()
        refusal = self.refuse(message)
        if refusal is not None:
            raise refusal
        partitions = self._topics.get(message.topic)
        if partitions is None:
            raise Unreachable(f"There is no topic {message.topic}.")
        number = message.partition
        if number is None:
            number = zlib.crc32(message.key or b"") % len(partitions)
        log = partitions[number % len(partitions)]
        log.append(
            Record(
                topic=message.topic,
                partition=number % len(partitions),
                offset=len(log),
                timestamp=self._clock.now(),
                timestamp_type=0,
                key=message.key,
                value=message.value,
                headers=message.headers,
            )
        )
        self.wake()

    def wake(self) -> None:
        """Let every waiting fetch look again."""
        self._arrival.set()
        self._arrival = asyncio.Event()

    async def wait_for_arrival(self, seconds: float) -> None:
        """Wait until something may have changed, at most so long."""
        arrival = self._arrival
        try:
            async with asyncio.timeout(seconds):
                await arrival.wait()
        except TimeoutError:
            return

    def log_of(self, partition: TopicPartition) -> list[Record]:
        """Return a partition's records; none where it is gone."""
        partitions = self._topics.get(partition.topic, [])
        return partitions[partition.partition] if partition.partition < len(partitions) else []

    def group(self, name: str) -> _Group:
        """Return a consumer group, new where it is unknown."""
        return self._groups.setdefault(name, _Group())

    def rebalance(self, name: str) -> None:
        """Deal a group's partitions to its members, in turns."""
        group = self.group(name)
        for member in group.members:
            member.revoke()
        wanted = sorted({topic for member in group.members for topic in member.topics})
        for topic in wanted:
            takers = [member for member in group.members if topic in member.topics]
            for number in range(len(self._topics.get(topic, []))):
                partition = TopicPartition(topic, number)
                takers[number % len(takers)].assign(partition, group.offsets.get(partition, 0))
        self.wake()

    def _rebalance_all(self) -> None:
        for name in self._groups:
            self.rebalance(name)


class MemoryPublisher:
    """A Publisher into a MemoryBroker."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def start(self) -> None:
        self._broker.check_available()

    async def publish(self, messages: Sequence[Message]) -> list[Exception | None]:
        # A real acknowledgement takes a turn of the loop, too.
        await asyncio.sleep(0)
        return [self._publish_one(message) for message in messages]

    async def stop(self) -> None:
        """Nothing is buffered, so nothing is left to do."""

    def _publish_one(self, message: Message) -> Exception | None:
        try:
            self._broker.append(message)
        except Exception as error:  # noqa: BLE001 - the publisher's answer is one result a message
            return error
        return None


class MemorySubscription:
    """A Subscription to a MemoryBroker. paused: the partitions that are not fetched just now."""

    def __init__(self, broker: MemoryBroker, group: str, topics: Sequence[str]) -> None:
        self.topics = tuple(topics)
        self.paused: set[TopicPartition] = set()
        self._broker = broker
        self._group = group
        self._positions: dict[TopicPartition, int] = {}
        self._listeners: list[Callable[[frozenset[TopicPartition]], None]] = []

    async def start(self) -> None:
        self._broker.check_available()
        self._broker.group(self._group).members.append(self)
        self._broker.rebalance(self._group)

    async def fetch(self, max_records: int, wait: float) -> Mapping[TopicPartition, Sequence[Record]]:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        while True:
            self._broker.check_available()
            arrived = self._take(max_records)
            remaining = until - loop.time()
            if arrived or remaining <= 0:
                return arrived
            await self._broker.wait_for_arrival(remaining)

    def assigned(self) -> frozenset[TopicPartition]:
        return frozenset(self._positions)

    def high_water(self) -> Mapping[TopicPartition, int]:
        return {partition: len(self._broker.log_of(partition)) for partition in self._positions}

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        self.paused |= partitions & self._positions.keys()

    def resume(self, partitions: frozenset[TopicPartition]) -> None:
        self.paused -= partitions
        self._broker.wake()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        if partition in self._positions:
            self._positions[partition] = offset

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._broker.check_available()
        if not offsets.keys() <= self._positions.keys():
            raise Unreachable("The group was rebalanced; these partitions are somebody else's now.")
        self._broker.group(self._group).offsets.update(offsets)

    def on_assignment_change(self, listener: Callable[[frozenset[TopicPartition]], None]) -> None:
        self._listeners.append(listener)

    async def stop(self) -> None:
        members = self._broker.group(self._group).members
        if self in members:
            members.remove(self)
            self.revoke()
            self._broker.rebalance(self._group)

    def assign(self, partition: TopicPartition, offset: int) -> None:
        """Take over a partition from an offset on."""
        self._positions[partition] = offset

    def revoke(self) -> None:
        """Give up every partition."""
        revoked = frozenset(self._positions)
        self._positions.clear()
        self.paused.clear()
        if revoked:
            for listener in self._listeners:
                listener(revoked)

    def _take(self, max_records: int) -> dict[TopicPartition, Sequence[Record]]:
        arrived: dict[TopicPartition, Sequence[Record]] = {}
        for partition in sorted(self._positions.keys() - self.paused):
            start = self._positions[partition]
            records = self._broker.log_of(partition)[start : start + max_records]
            if records:
                arrived[partition] = records
                self._positions[partition] = start + len(records)
                max_records -= len(records)
            if max_records <= 0:
                break
        return arrived
