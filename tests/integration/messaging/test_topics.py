"""Topics are ours to create: a broker that creates what it is asked for chooses the partitions itself."""

import asyncio
from collections.abc import Mapping, Sequence

from shared.database.port import Database
from shared.errors import Unreachable
from shared.messaging.broker import Message, Record, Subscription, TopicPartition
from shared.messaging.topics import TopicKeeper
from tests.integration.conftest import EmbeddedBroker
from tests.integration.messaging.world import PARTITIONS, PATIENCE, World, world

FETCHES = 30
"""Enough, at a tenth of a second each, to join where nothing is waited for."""


async def test_a_consumer_that_comes_before_its_topics_waits_for_them(
    kafka_bootstrap: str, store: Database
) -> None:
    async with world(kafka_bootstrap, store) as w:
        topic = f"late-{w.topic}"
        subscription = w.broker.subscription(w.group, [topic])
        await subscription.start()
        try:
            assert [await _fetch(subscription) for _ in range(FETCHES)] == [None] * FETCHES
            keeper = TopicKeeper(w.broker, {topic: PARTITIONS})
            assert await keeper.ensure() == {topic, f"dlt-{topic}"}
            await _until_consumed(w, subscription, topic)
        finally:
            await subscription.stop()


async def test_a_consumer_whose_broker_comes_back_empty_leaves_the_topics_to_be_created(
    embedded_broker: EmbeddedBroker, store: Database
) -> None:
    async with world(embedded_broker.bootstrap, store) as w:
        subscription = w.broker.subscription(w.group, [w.topic])
        await subscription.start()
        try:
            await _until_consumed(w, subscription, w.topic)
            before = subscription.assigned()
            embedded_broker.kill()
            embedded_broker.start()
            async with asyncio.timeout(PATIENCE):
                while subscription.assigned() == before:
                    await _fetch(subscription)
            assert await w.keeper.ensure() == {w.topic, f"dlt-{w.topic}"}
            await _until_consumed(w, subscription, w.topic)
        finally:
            await subscription.stop()


async def _until_consumed(w: World, subscription: Subscription, topic: str) -> None:
    """Publish a record and wait until it arrives at a member that has all of the topic, and no more."""
    await w.publish(Message(topic, b"key", b"value"))
    async with asyncio.timeout(PATIENCE):
        while not await _fetch(subscription):
            pass
    assert subscription.assigned() == {TopicPartition(topic, number) for number in range(PARTITIONS)}


async def _fetch(subscription: Subscription) -> Mapping[TopicPartition, Sequence[Record]] | None:
    """Return what arrives within a moment; None where the member hasn't joined its group yet."""
    try:
        return await subscription.fetch(10, 0.1)
    except Unreachable:
        return None
