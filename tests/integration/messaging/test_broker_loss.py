"""The broker is killed and comes back empty: everything heals, and nothing in the outbox is lost."""

import asyncio
import gc
from collections.abc import Sequence

import pytest
from aiokafka.errors import CommitFailedError

from shared.database.port import Database
from shared.errors import Unreachable
from shared.messaging.broker import Message, Record, TopicPartition
from shared.messaging.kafka_subscription import commit_as_member
from shared.messaging.listener import Verdict
from tests.integration.conftest import EmbeddedBroker
from tests.integration.messaging.world import PARTITIONS, World, world


async def test_relay_and_consumer_survive_a_broker_that_comes_back_empty(
    embedded_broker: EmbeddedBroker, store: Database
) -> None:
    async with world(embedded_broker.bootstrap, store) as w:
        relay, consumer = w.relay(), w.consume()
        w.start(w.keeper.run())
        await add(w, [b"before-%d" % number for number in range(30)])
        await w.until(lambda: len(set(w.applied)) == 30)
        embedded_broker.kill()
        await add(w, [b"during-%d" % number for number in range(30)])
        await w.until(lambda: relay.health() and consumer.health() and w.keeper.health())
        assert await w.waiting_rows() == 30
        embedded_broker.start()
        await w.until(lambda: {b"during-%d" % number for number in range(30)} <= set(w.applied))
        await w.until(lambda: not (relay.health() or consumer.health() or w.keeper.health()))
        await w.until(lambda: nothing_waits(w))
        await add(w, [b"after-%d" % number for number in range(30)])
        await w.until(lambda: {b"after-%d" % number for number in range(30)} <= set(w.applied))
        assert await w.letters() == []


async def test_offsets_of_an_earlier_life_are_not_committed_to_a_broker_that_came_back_empty(
    embedded_broker: EmbeddedBroker, store: Database
) -> None:
    async with world(embedded_broker.bootstrap, store) as w:

        async def handle(records: Sequence[Record]) -> list[Verdict]:
            if records[-1].value == b"before-9":
                embedded_broker.kill()  # What is applied now can't be committed any more.
            return await w.handle(records)

        relay, consumer = w.relay(), w.consume(handle=handle)
        w.start(w.keeper.run())
        await w.add(*(w.message(b"before-%d" % number) for number in range(10)))
        await w.until(lambda: len(set(w.applied)) == 10)
        await w.until(lambda: consumer.health() and w.keeper.health())
        embedded_broker.start()
        await w.until_topics()
        await w.add(*(w.message(b"after-%d" % number) for number in range(20)))
        await w.until(lambda: {b"after-%d" % number for number in range(20)} <= set(w.applied))
        await w.until(lambda: not relay.health())


def test_one_that_is_no_member_commits_nothing() -> None:
    class Coordinator:
        generation = 1

        def __init__(self) -> None:
            self.sent: list[object] = []

        async def _do_commit_offsets(self, _assignment: object, offsets: object) -> None:
            self.sent.append(offsets)

    coordinator = Coordinator()
    commit_as_member(coordinator)
    asyncio.run(coordinator._do_commit_offsets(None, 1))
    coordinator.generation = -1
    with pytest.raises(CommitFailedError):
        asyncio.run(coordinator._do_commit_offsets(None, 2))

    assert coordinator.sent == [1]


async def test_after_a_failure_nothing_is_sent_to_a_topic_that_the_new_broker_does_not_have(
    embedded_broker: EmbeddedBroker, store: Database
) -> None:
    """The embedded broker would answer "stored", and forget it."""
    async with world(embedded_broker.bootstrap, store) as w:
        publisher = w.broker.publisher()
        assert await publisher.publish([w.message(b"a")]) == [None]
        embedded_broker.kill()
        (error,) = await publisher.publish([w.message(b"b")])
        assert error is not None
        embedded_broker.start()
        (error,) = await publisher.publish([w.message(b"c")])
        assert "no topic" in str(error)
        await w.until_topics()
        for number in range(5):
            assert await publisher.publish([w.message(b"d%d" % number)]) == [None]
        await publisher.stop()
        records = await w.read_topic(w.topic, 5)
        assert [record.value for record in records] == [b"d%d" % number for number in range(5)]


async def test_every_call_ends_in_time_while_the_broker_is_away(
    embedded_broker: EmbeddedBroker, store: Database
) -> None:
    async with world(embedded_broker.bootstrap, store) as w:
        w.consume()
        await w.until(lambda: w.subscriptions[0].assigned())
        embedded_broker.kill()
        started = asyncio.get_running_loop().time()
        (task,) = w.tasks
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert asyncio.get_running_loop().time() - started < 30


async def test_a_member_that_joins_before_its_topic_exists_waits_for_it(
    embedded_broker: EmbeddedBroker, store: Database
) -> None:
    embedded_broker.kill()
    embedded_broker.start()
    async with world(embedded_broker.bootstrap, store) as w:
        embedded_broker.kill()
        embedded_broker.start()
        consumer = w.consume()
        await w.until(consumer.health)
        w.start(w.keeper.run())
        await w.until_topics()
        await w.publish(w.message(b"a"))
        await w.until(lambda: w.applied == [b"a"])


async def add(w: World, values: list[bytes]) -> None:
    messages = [
        Message(w.topic, value, value, (), number % PARTITIONS) for number, value in enumerate(values)
    ]
    await w.add(*messages)


async def nothing_waits(w: World) -> bool:
    return await w.waiting_rows() == 0


async def test_a_commit_that_was_given_up_fails_quietly(
    embedded_broker: EmbeddedBroker, store: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for it any more when the connection breaks."""
    async with world(embedded_broker.bootstrap, store) as w:
        consumer = w.consume()
        await w.publish(w.message(b"a"))
        await w.until(lambda: w.applied == [b"a"])
        [subscription] = w.subscriptions
        embedded_broker.freeze()
        for _ in range(2):
            with pytest.raises(Unreachable):
                await subscription.commit({TopicPartition(w.topic, 0): 1})
        embedded_broker.kill()
        await w.until(consumer.health)
    gc.collect()
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []
