"""The broker port: what the rest of the kit needs of Kafka, in the fewest words.

`shared.messaging.kafka` is the real one, `shared.messaging.memory` the one without sockets.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from shared.clock import Millis
from shared.errors import HandfastError

Headers = tuple[tuple[str, bytes], ...]


class Unpublishable(HandfastError):
    """This message can never be published, whatever the broker's state."""


class TopicPartition(NamedTuple):
    topic: str
    partition: int


class Message(NamedTuple):
    """What is to be published. partition: None lets the key choose.

    A named tuple, because one is made in half the time of a frozen dataclass, twice for each message.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What was fetched. timestamp_type: 0 when the producer set the timestamp, 1 when the broker did."""

    topic: str
    partition: int
    offset: int
    timestamp: Millis
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    def header(self, name: str) -> bytes | None:
        """Return the last header of that name (the latest of repeated headers wins), or None."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None


class Publisher(Protocol):
    async def start(self) -> None: ...

    async def publish(self, messages: Sequence[Message]) -> list[Exception | None]:
        """Publish all with acks=all; return, in order, None for each that is acknowledged, or what failed.

        What failed is Unpublishable where trying again is pointless. Returns within a bounded time, broker or
        no broker.
        """
        ...

    async def stop(self) -> None: ...


class Subscription(Protocol):
    """One member of a consumer group."""

    async def start(self) -> None: ...

    async def fetch(self, max_records: int, wait: float) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return what has arrived within `wait` seconds (possibly nothing), never from paused partitions."""
        ...

    def assigned(self) -> frozenset[TopicPartition]: ...

    def high_water(self) -> Mapping[TopicPartition, int]:
        """Return the offset behind the newest record of each assigned partition where it is known."""
        ...

    def pause(self, partitions: frozenset[TopicPartition]) -> None: ...

    def resume(self, partitions: frozenset[TopicPartition]) -> None: ...

    def seek(self, partition: TopicPartition, offset: int) -> None: ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit the offsets of the next records to read; raise Transient where the broker didn't take it."""
        ...

    def on_assignment_change(self, listener: Callable[[frozenset[TopicPartition]], None]) -> None:
        """Call listener with the partitions just revoked whenever the group rebalances."""
        ...

    async def stop(self) -> None: ...


class Broker(Protocol):
    def publisher(self) -> Publisher: ...

    def subscription(self, group: str, topics: Sequence[str]) -> Subscription: ...

    async def ensure_topics(self, topics: Mapping[str, int]) -> frozenset[str]:
        """Create the topics (name to partition count) that are missing; return the names created."""
        ...

    async def close(self) -> None: ...
