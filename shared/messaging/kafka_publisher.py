"""Publishing to Kafka over aiokafka's producer: acks from all, every wait bounded, anew after trouble.

The producer tries again by itself, for as long as it may. So one that did not get everything acknowledged in
time is given up, and what it still held with it: what is published again later must not be overtaken by it.
And because it would wait for a topic that isn't there, nothing is handed to it for one that is not known.
"""

import asyncio
import logging
from asyncio import Future
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTopicError, MessageSizeTooLargeError, RecordListTooLargeError

from shared.errors import Transient, Unreachable
from shared.messaging.broker import Message, Unpublishable
from shared.messaging.kafka_topics import BROKER_ERRORS

BATCH_BYTES: Final = 512 * 1024
"""What goes into one batch of a partition; brokers take 1 MiB unless they are told otherwise."""
MAX_RECORD_BYTES: Final = 1_040_000
"""One record's size, a little under what a batch may have at brokers that were not told otherwise."""
ABORT_SECONDS: Final = 0.5
"""The bound on each of the three steps of giving a producer up."""

_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
_Results = dict[int, Exception | None]

log = logging.getLogger(__name__)


class KafkaPublisher:
    """A Publisher. new_producer makes producers, not started; publish_seconds bounds one call of publish.

    partition_counts: asks the cluster which topics there are and how many partitions they have.
    """

    def __init__(
        self,
        new_producer: Callable[[], Awaitable[AIOKafkaProducer]],
        partition_counts: Callable[[], Awaitable[dict[str, int]]],
        *,
        publish_seconds: float = 5.0,
    ) -> None:
        self._new_producer = new_producer
        self._partition_counts = partition_counts
        self._publish_seconds = publish_seconds
        self._producer: AIOKafkaProducer | None = None
        self._counts: dict[str, int] = {}
        self._stale = False
        self._one_at_a_time = asyncio.Lock()

    async def start(self) -> None:
        """Connect; raise Unreachable where no broker answers. publish connects again when it must."""
        try:
            async with self._one_at_a_time, asyncio.timeout(self._publish_seconds):
                await self._started()
        except BROKER_ERRORS as error:
            raise Unreachable(f"The broker is out of reach: {error!r}") from error

    async def publish(self, messages: Sequence[Message]) -> list[Exception | None]:
        results: _Results = {}
        lost = Unreachable("The broker did not acknowledge in time.")
        # The order of publication is the order of the calls.
        async with self._one_at_a_time:
            await self._give_up_if_stale()
            try:
                async with asyncio.timeout(self._publish_seconds):
                    await self._publish(messages, results)
            except Transient as error:
                lost = Unreachable(error.detail)
                self._stale = True
            except BROKER_ERRORS as error:
                lost = Unreachable(f"The broker is out of reach: {error!r}")
                self._stale = True
            await self._give_up_if_stale()
        return [results.get(index, lost) for index in range(len(messages))]

    def start_over(self) -> None:
        """Begin the next publication with a new producer, for the topics are not what they were."""
        self._stale = True

    async def stop(self) -> None:
        """Close the connections; nothing is buffered."""
        self._stale = True
        await self._give_up_if_stale()

    async def _publish(self, messages: Sequence[Message], results: _Results) -> None:
        await self._look_up(messages)
        producer = await self._started()
        known = []
        for index, message in enumerate(messages):
            if message.topic in self._counts:
                known.append(index)
            else:
                results[index] = Unreachable(f"There is no topic {message.topic} yet.")
        too_large = await self._send(producer, messages, known, results)
        # A broker may take less at once than we thought: then one by one, so that the culprit is found.
        for index in too_large:
            for culprit in await self._send(producer, messages, [index], results):
                topic = messages[culprit].topic
                results[culprit] = Unpublishable(f"The record is larger than the broker takes for {topic}.")

    async def _send(
        self,
        producer: AIOKafkaProducer,
        messages: Sequence[Message],
        indexes: Iterable[int],
        results: _Results,
    ) -> list[int]:
        """Send those messages and fill in their results; return which of them the broker found too large."""
        acks: dict[int, Future[Any]] = {}
        too_large: list[int] = []
        try:
            for index in indexes:
                message = messages[index]
                try:
                    acks[index] = await _hand_over(producer, message, self._counts[message.topic])
                except MessageSizeTooLargeError as error:
                    results[index] = Unpublishable(str(error))
            for ack in acks.values():
                if not ack.done():
                    await asyncio.wait([ack])
        finally:
            for index, ack in acks.items():
                if not ack.done():
                    ack.cancel()
                elif isinstance(failure := ack.exception(), _TOO_LARGE):
                    too_large.append(index)
                else:
                    results[index] = self._read(messages[index].topic, failure)
        return too_large

    def _read(self, topic: str, failure: BaseException | None) -> Exception | None:
        if failure is None:
            return None
        if isinstance(failure, InvalidTopicError):
            return Unpublishable(f"The broker will never take a record for {topic}: {failure!r}")
        self._stale = True
        return Unreachable(f"The broker did not take the record for {topic}: {failure!r}")

    async def _look_up(self, messages: Iterable[Message]) -> None:
        """Ask about the topics again if one is not known, or not with the partition that is wanted."""
        wanted: dict[str, int] = {}
        for message in messages:
            wanted[message.topic] = max(wanted.get(message.topic, 0), message.partition or 0)
        if any(self._counts.get(topic, 0) <= partition for topic, partition in wanted.items()):
            self._counts = await self._partition_counts()

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = await self._new_producer()
            try:
                await producer.start()
            except BaseException:
                await _abort(producer)
                raise
            self._producer = producer
        return self._producer

    async def _give_up_if_stale(self) -> None:
        if self._stale:
            producer, self._producer = self._producer, None
            self._counts = {}
            self._stale = False
            if producer is not None:
                await _abort(producer)


async def _hand_over(producer: AIOKafkaProducer, message: Message, count: int) -> Future[Any]:
    """Give a message to the producer; return what will be done once it is acknowledged.

    A partition that was asked for and isn't there (a twin with fewer partitions) wraps around.
    """
    partition = None if message.partition is None else message.partition % count
    headers = list(message.headers)
    if message.key is not None or message.value is not None:
        ack = await producer.send(message.topic, message.value, message.key, partition, headers=headers)
    else:
        # A dead letter may have neither key nor value; the producer takes that as a batch only.
        batch = producer.create_batch()
        batch.append(timestamp=None, key=None, value=None, headers=headers)
        batch.close()
        ack = await producer.send_batch(batch, message.topic, partition=partition or 0)
    future: Future[Any] = ack
    return future


async def _abort(producer: AIOKafkaProducer) -> None:
    """Stop without the flush that `stop()` begins with: it would go on for as long as the broker is away."""
    producer._closed = True  # noqa: SLF001 - aiokafka has no abort
    sending = producer._sender.sender_task  # noqa: SLF001
    if sending is not None:
        # At the first cancellation it still waits for the answers on their way, at the second it doesn't.
        for _ in range(2):
            sending.cancel()
            await asyncio.wait([sending], timeout=ABORT_SECONDS)
    try:
        async with asyncio.timeout(ABORT_SECONDS):
            await producer.client.close()
    except BROKER_ERRORS as error:
        log.debug("A producer's connections did not close by themselves: %r", error)
