"""The publisher over a broker that freezes, dies and forgets: in time, without leaks, and well again."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shared.database.port import Database
from shared.errors import Unreachable
from shared.messaging.broker import Message, Unpublishable
from shared.messaging.kafka import KafkaBroker
from shared.messaging.kafka_access import KafkaAccess
from tests.integration.conftest import EmbeddedBroker
from tests.integration.messaging.world import PARTITIONS, World, world


async def test_a_broker_that_freezes_costs_a_bounded_time_and_leaves_nothing_behind(
    embedded_broker: EmbeddedBroker, store: Database
) -> None:
    async with world(embedded_broker.bootstrap, store) as w, no_complaints():
        broker = KafkaBroker(KafkaAccess(bootstrap=embedded_broker.bootstrap), publish_seconds=1.0)
        publisher = broker.publisher()
        assert await publisher.publish([w.message(b"a")]) == [None]
        embedded_broker.freeze()
        before = asyncio.get_running_loop().time()
        results = await publisher.publish(spread(w, 30))
        assert all(isinstance(error, Unreachable) for error in results)
        assert len(results) == 30
        (error,) = await publisher.publish([w.message(b"b")])
        assert isinstance(error, Unreachable)
        await publisher.stop()
        await broker.close()
        assert asyncio.get_running_loop().time() - before < 20
        embedded_broker.thaw()
        assert await publisher.publish([w.message(b"c")]) == [None]
        await publisher.stop()
        await broker.close()


async def test_a_broker_that_is_killed_under_way_leaves_nothing_behind(
    embedded_broker: EmbeddedBroker, store: Database
) -> None:
    async with world(embedded_broker.bootstrap, store) as w, no_complaints():
        broker = KafkaBroker(KafkaAccess(bootstrap=embedded_broker.bootstrap), publish_seconds=2.0)
        publisher = broker.publisher()
        await publisher.start()
        assert await publisher.publish(spread(w, 3)) == [None] * 3
        embedded_broker.freeze()
        # Nobody answers any more, and the kill comes before the publisher's own bound, however late both are.
        asyncio.get_running_loop().call_later(0.1, embedded_broker.kill)
        results = await publisher.publish(spread(w, 30))
        assert all(isinstance(error, Unreachable) for error in results)
        cancelled = asyncio.create_task(publisher.publish(spread(w, 30)))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        await publisher.stop()
        await broker.close()


async def test_a_missing_topic_is_told_of_at_once(kafka_bootstrap: str, store: Database) -> None:
    async with world(kafka_bootstrap, store) as w:
        publisher = w.broker.publisher()
        nowhere = Message("there-is-no-such-topic", b"k", b"v")
        assert await publisher.publish([w.message(b"a")]) == [None]
        before = asyncio.get_running_loop().time()
        error, none = await publisher.publish([nowhere, w.message(b"b")])
        assert asyncio.get_running_loop().time() - before < 5
        assert isinstance(error, Unreachable)
        assert "no topic" in str(error)
        assert none is None
        await publisher.stop()


async def test_what_was_published_reaches_the_topics_that_were_created_anew(
    embedded_broker: EmbeddedBroker, store: Database
) -> None:
    """A producer that saw the broker before it came back empty is not used again."""
    async with world(embedded_broker.bootstrap, store) as w:
        publisher = w.broker.publisher()
        assert await publisher.publish([w.message(b"a")]) == [None]
        embedded_broker.kill()
        embedded_broker.start()
        await w.until_topics()
        assert await publisher.publish(spread(w, 9)) == [None] * 9
        await publisher.stop()
        assert len(await w.read_topic(w.topic, 9)) == 9


async def test_a_partition_beyond_the_last_wraps_around(kafka_bootstrap: str, store: Database) -> None:
    async with world(kafka_bootstrap, store) as w:
        await w.publish(w.message(b"a", partition=PARTITIONS + 1), w.message(None, key=None, partition=5))
        records = await w.read_topic(w.topic, 2)
        assert {(record.value, record.partition) for record in records} == {(b"a", 1), (None, 2)}


async def test_a_record_is_measured_before_it_is_sent(kafka_bootstrap: str, store: Database) -> None:
    async with world(kafka_bootstrap, store) as w:
        broker = KafkaBroker(KafkaAccess(bootstrap=kafka_bootstrap), max_record_bytes=1_000)
        publisher = broker.publisher()
        headers = (("h", b"x" * 2_000),)
        results = await publisher.publish(
            [w.message(b"a"), w.message(b"x" * 2_000), w.message(b"b", headers=headers), w.message(b"c")]
        )
        assert results[0] is None
        assert isinstance(results[1], Unpublishable)
        assert isinstance(results[2], Unpublishable)
        assert results[3] is None
        await publisher.stop()
        await broker.close()


@asynccontextmanager
async def no_complaints() -> AsyncIterator[None]:
    """Fail where a future's exception was never retrieved, or a task was left behind."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    tasks = asyncio.all_tasks()
    try:
        yield
        left = asyncio.all_tasks() - tasks
        if left:
            await asyncio.wait(left, timeout=3)
        gc.collect()
        await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(None)
    assert complaints == []
    assert {task for task in left if not task.done()} == set()


def spread(w: World, count: int) -> list[Message]:
    return [w.message(b"%d" % number, partition=number % PARTITIONS) for number in range(count)]
