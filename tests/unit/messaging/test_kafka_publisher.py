"""What the publisher makes of a producer's answers, with a producer that answers as it is told."""

import asyncio
from asyncio import Future
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    UnknownTopicOrPartitionError,
)

from shared.errors import Unreachable
from shared.messaging.broker import Message, Unpublishable
from shared.messaging.kafka_publisher import KafkaPublisher

Answers = Callable[[list[bytes]], Exception | None]


class FakeProducer:
    """Takes all that arrives in one turn of the loop as one batch; answers: what becomes of a batch."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._batch: list[tuple[bytes, Future[None]]] = []
        self._sender = SimpleNamespace(sender_task=None)
        self._closed = False
        self.client = self
        self.closed = False

    async def start(self) -> None:
        assert not self.closed

    async def close(self) -> None:
        self.closed = True

    async def send(self, _topic: str, value: bytes, *_: Any, **__: Any) -> Future[None]:
        loop = asyncio.get_running_loop()
        if not self._batch:
            loop.call_soon(self._answer)
        ack: Future[None] = loop.create_future()
        self._batch.append((value, ack))
        return ack

    def _answer(self) -> None:
        batch, self._batch = self._batch, []
        error = self._answers([value for value, _ in batch])
        for _, ack in batch:
            if error is None:
                ack.set_result(None)
            else:
                ack.set_exception(error)


class World:
    def __init__(self, answers: Answers) -> None:
        self.producers: list[FakeProducer] = []
        self.looks = 0
        self._answers = answers
        self.publisher = KafkaPublisher(self._new_producer, self._counts, publish_seconds=1.0)

    async def _new_producer(self) -> Any:
        self.producers.append(FakeProducer(self._answers))
        return self.producers[-1]

    async def _counts(self) -> dict[str, int]:
        self.looks += 1
        return {"t": 3}


def messages(*values: bytes) -> list[Message]:
    return [Message("t", b"k", value) for value in values]


async def test_the_record_that_a_broker_finds_too_large_is_told_from_the_others_in_its_batch() -> None:
    batches: list[list[bytes]] = []

    def answers(batch: list[bytes]) -> Exception | None:
        batches.append(batch)
        return MessageSizeTooLargeError() if sum(map(len, batch)) > 5 else None

    w = World(answers)
    results = await w.publisher.publish(messages(b"1", b"large!", b"2"))
    assert results[0] is None
    assert isinstance(results[1], Unpublishable)
    assert results[2] is None
    assert batches == [[b"1", b"large!", b"2"], [b"1"], [b"large!"], [b"2"]]
    assert len(w.producers) == 1
    assert not w.producers[0].closed


async def test_a_topic_that_can_never_be_is_no_reason_to_try_again() -> None:
    w = World(lambda _batch: InvalidTopicError())
    (error,) = await w.publisher.publish(messages(b"1"))
    assert isinstance(error, Unpublishable)


@pytest.mark.parametrize("failure", [UnknownTopicOrPartitionError(), KafkaError("the sender died")])
async def test_after_a_failure_there_is_a_new_producer_and_a_new_look_at_the_topics(
    failure: KafkaError,
) -> None:
    failures: list[Exception] = [failure]
    w = World(lambda _batch: failures.pop() if failures else None)
    (error,) = await w.publisher.publish(messages(b"1"))
    assert isinstance(error, Unreachable)
    assert w.producers[0].closed
    assert await w.publisher.publish(messages(b"1")) == [None]
    assert await w.publisher.publish(messages(b"2")) == [None]
    assert (len(w.producers), w.looks) == (2, 2)


async def test_what_is_acknowledged_before_the_time_is_up_counts() -> None:
    w = World(lambda _batch: None)
    late: list[Future[None]] = []

    async def send(_self: Any, _topic: str, value: bytes, *_: Any, **__: Any) -> Future[None]:
        ack: Future[None] = asyncio.get_running_loop().create_future()
        if value == b"late":
            late.append(ack)
        else:
            ack.set_result(None)
        return ack

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeProducer, "send", send)
        results = await w.publisher.publish(messages(b"1", b"late", b"2"))
    assert results[0] is None
    assert isinstance(results[1], Unreachable)
    assert results[2] is None
    assert late[0].cancelled()
    assert w.producers[0].closed


async def test_topics_that_were_created_anew_are_published_to_by_a_new_producer() -> None:
    w = World(lambda _batch: None)
    assert await w.publisher.publish(messages(b"1")) == [None]
    w.publisher.start_over()
    assert await w.publisher.publish(messages(b"2")) == [None]
    assert [producer.closed for producer in w.producers] == [True, False]
