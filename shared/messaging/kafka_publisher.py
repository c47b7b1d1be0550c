"""Publishing to Kafka in batches: one request per broker and round, acks from all, no hidden retry."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any, Final

from aiokafka.errors import for_code
from aiokafka.partitioner import murmur2
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from shared.errors import Unreachable
from shared.messaging.broker import Message, TopicPartition, Unpublishable
from shared.messaging.kafka_cluster import BROKER_ERRORS, Cluster

BATCH_BYTES: Final = 512 * 1024
"""What goes into one batch of a partition; brokers take 1 MiB unless they are told otherwise."""
MAX_RECORD_BYTES: Final = 1_040_000
"""One record's size, a little under what a batch may have at brokers that were not told otherwise."""

_ALL_REPLICAS: Final = -1
_NO_ERROR: Final = 0
_NOT_THERE: Final = frozenset({3, 5, 6})  # unknown topic or partition, leader not available, not the leader
_TOO_LARGE: Final = frozenset({10, 18})  # message, record list
_INVALID: Final = frozenset({17, 87})  # topic name, record
_Batches = dict[TopicPartition, list[int]]


class KafkaPublisher:
    """A Publisher. publish_seconds bounds one call of publish; max_record_bytes one record's size."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        publish_seconds: float = 5.0,
        max_record_bytes: int = MAX_RECORD_BYTES,
    ) -> None:
        self._cluster = cluster
        self._publish_seconds = publish_seconds
        self._max_record_bytes = max_record_bytes
        self._turns = itertools.count()
        self._one_at_a_time = asyncio.Lock()

    async def start(self) -> None:
        """Connect; raise Unreachable where no broker answers. publish connects again when it must."""
        try:
            async with asyncio.timeout(self._publish_seconds):
                await self._cluster.learn(())
        except BROKER_ERRORS as error:
            self._cluster.disconnect()
            raise Unreachable(f"The broker is out of reach: {error}") from error

    async def publish(self, messages: Sequence[Message]) -> list[Exception | None]:
        unanswered = Unreachable("The broker did not acknowledge in time.")
        results: list[Exception | None] = [unanswered] * len(messages)
        # The order of publication is the order of the calls.
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(self._publish_seconds):
                    await self._publish(messages, results)
            except BROKER_ERRORS as error:
                self._cluster.disconnect()
                lost = Unreachable(f"The broker is out of reach: {type(error).__name__}: {error}")
                return [lost if result is unanswered else result for result in results]
        return results

    async def stop(self) -> None:
        """Close the connections; nothing is buffered."""
        self._cluster.disconnect()

    async def _publish(self, messages: Sequence[Message], results: list[Exception | None]) -> None:
        await self._cluster.learn({message.topic for message in messages})
        remaining: _Batches = {}
        for index, message in enumerate(messages):
            leaders = self._cluster.leaders(message.topic)
            size = _size(message)
            if not leaders:
                results[index] = Unreachable(f"There is no topic {message.topic} yet.")
            elif size > self._max_record_bytes:
                results[index] = Unpublishable(
                    f"The record has {size} bytes, more than the {self._max_record_bytes} that are allowed."
                )
            else:
                number = self._partition(message, len(leaders))
                remaining.setdefault(TopicPartition(message.topic, number), []).append(index)
        too_large: list[tuple[TopicPartition, int]] = []
        while remaining:
            remaining = await self._send_round(messages, remaining, results, too_large)
        # A broker may take less at once than we thought: then one by one, so that the culprit is found.
        for culprit, index in too_large:
            alone: list[tuple[TopicPartition, int]] = []
            await self._send_round(messages, {culprit: [index]}, results, alone)

    async def _send_round(
        self,
        messages: Sequence[Message],
        batches: _Batches,
        results: list[Exception | None],
        too_large: list[tuple[TopicPartition, int]],
    ) -> _Batches:
        """Send one batch of every partition, all brokers at once; return what did not fit."""
        left: _Batches = {}
        sent: _Batches = {}
        requests: dict[int, dict[str, list[tuple[int, bytes]]]] = {}
        for partition, indexes in batches.items():
            taken, encoded = _encode(messages, indexes)
            sent[partition] = indexes[:taken]
            if taken < len(indexes):
                left[partition] = indexes[taken:]
            leader = self._cluster.leaders(partition.topic)[partition.partition]
            topics = requests.setdefault(leader, {})
            topics.setdefault(partition.topic, []).append((partition.partition, encoded))
        answers = await asyncio.gather(*(self._produce(node, topics) for node, topics in requests.items()))
        for partition, code in itertools.chain.from_iterable(answers):
            indexes = sent[partition]
            if code in _TOO_LARGE and len(indexes) > 1:
                too_large.extend((partition, index) for index in indexes)
                continue
            error = _error_of(code, partition)
            if code in _NOT_THERE:
                self._cluster.forget(partition.topic)
                left.pop(partition, None)
            for index in indexes:
                results[index] = error
        return {partition: rest for partition, rest in left.items() if self._cluster.leaders(partition.topic)}

    async def _produce(
        self, node: int, topics: dict[str, list[tuple[int, bytes]]]
    ) -> list[tuple[TopicPartition, int]]:
        """Send one request; return the error code of each partition in it."""
        timeout_ms = round(self._publish_seconds * 1000)
        request = ProduceRequest(
            transactional_id=None,
            required_acks=_ALL_REPLICAS,
            timeout=timeout_ms,
            topics=list(topics.items()),
        )
        answer: Any = await self._cluster.ask(node, request)
        return [
            (TopicPartition(topic, partition[0]), partition[1])
            for topic, partitions in answer.topics
            for partition in partitions
        ]

    def _partition(self, message: Message, count: int) -> int:
        """Choose as every Kafka client does: by the key's murmur2 hash; without a key, in turns.

        A partition that was asked for and isn't there (a twin with fewer partitions) wraps around.
        """
        if message.partition is not None:
            return message.partition % count
        if message.key is None:
            return next(self._turns) % count
        return int(murmur2(message.key) & 0x7FFFFFFF) % count


def _encode(messages: Sequence[Message], indexes: Sequence[int]) -> tuple[int, bytes]:
    """Encode as many as fit into one batch, at least one; return how many, and the batch."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=0,
        batch_size=BATCH_BYTES,
    )
    for taken, index in enumerate(indexes):
        message = messages[index]
        fits = builder.append(taken, None, message.key, message.value, list(message.headers))
        if fits is None:
            return taken, bytes(builder.build())
    return len(indexes), bytes(builder.build())


def _size(message: Message) -> int:
    headers = sum(len(name) + len(value) + 4 for name, value in message.headers)
    return len(message.key or b"") + len(message.value or b"") + headers + 64


def _error_of(code: int, partition: TopicPartition) -> Exception | None:
    if code == _NO_ERROR:
        return None
    kind = for_code(code)
    told = f"{partition.topic}/{partition.partition}: {kind.__name__}"
    if code in _TOO_LARGE or code in _INVALID:
        return Unpublishable(f"The broker will never take this record for {told}.")
    return Unreachable(f"The broker did not take the record for {told}.")
