"""Topics on Apache Kafka: made as they are set, left as they are, and their failures said."""

import logging

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from shared.database.port import Database
from shared.errors import Unreachable
from shared.messaging.kafka import KafkaBroker
from shared.messaging.kafka_idempotence import numbers_producers
from shared.messaging.kafka_topic_shape import TopicShape
from tests.integration.conftest import EmbeddedBroker
from tests.integration.messaging.world import World, world
from tests.kafka import Kafka

LOGGER = "shared.messaging.kafka_topics"


def broker_of(w: World, shape: TopicShape) -> KafkaBroker:
    return KafkaBroker(w.access, shape=shape, compare_topics=True)


@pytest.mark.on_kafka
async def test_what_a_topic_differs_in_is_said_once_and_left(
    kafka: Kafka, store: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(kafka.bootstrap, store) as w:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        await admin.start()
        settings = {"retention.ms": "5000", "compression.type": "zstd"}
        await admin.create_topics([NewTopic(f"theirs-{w.topic}", 1, 1, topic_configs=settings)])
        await admin.close()
        broker = broker_of(w, TopicShape(retention_ms=1_000))
        topics = {f"theirs-{w.topic}": 3, f"ours-{w.topic}": 3}
        caplog.set_level(logging.INFO, LOGGER)
        assert await broker.ensure_topics(topics) == {f"ours-{w.topic}"}
        for _ in range(2):
            assert await broker.ensure_topics(topics) == frozenset()
        await broker.close()
        said = [record.message for record in caplog.records if record.name == LOGGER]
        begin = f"Topic theirs-{w.topic} is there and stays as it is: "
        assert said == [
            f"{begin}it has 1 partitions, HANDFAST_PARTITIONS says 3.",
            f"{begin}its retention.ms is 5000, it would be created with 1000.",
            f"{begin}its compression.type is zstd, which is not understood here.",
        ]


@pytest.mark.on_kafka
async def test_a_topic_that_cannot_be_made_is_said(kafka: Kafka, store: Database) -> None:
    async with world(kafka.bootstrap, store) as w:
        broker = broker_of(w, TopicShape(replicas=3))
        with pytest.raises(Unreachable, match=f"x-{w.topic} is missing .* InvalidReplicationFactorError"):
            await broker.ensure_topics({f"x-{w.topic}": 3})
        await broker.close()


async def test_a_broker_that_does_not_tell_settings_keeps_its_topics(
    kafka_bootstrap: str, store: Database, pytestconfig: pytest.Config, caplog: pytest.LogCaptureFixture
) -> None:
    """The embedded one ends the connection over the question."""
    async with world(kafka_bootstrap, store) as w:
        broker = broker_of(w, TopicShape())
        caplog.set_level(logging.INFO, LOGGER)
        topics = {f"ours-{w.topic}": 3}
        assert await broker.ensure_topics(topics) == set(topics)
        for _ in range(2):
            assert await broker.ensure_topics(topics) == frozenset()
        await broker.close()
        said = [record.message for record in caplog.records if record.name == LOGGER]
        assert len(said) == (0 if pytestconfig.getoption("--kafka") else 1)
        assert all(line.startswith("The broker doesn't tell the settings of topics: ") for line in said)


@pytest.mark.on_kafka
async def test_apache_kafka_numbers_producers(kafka: Kafka) -> None:
    assert await numbered(kafka.bootstrap)


async def test_a_broker_that_does_not_is_asked_and_believed(
    kafka_bootstrap: str, pytestconfig: pytest.Config
) -> None:
    """The embedded one lists the request among those it knows, and refuses it."""
    assert await numbered(kafka_bootstrap) == pytestconfig.getoption("--kafka")


async def test_a_broker_that_just_started_is_asked_until_it_knows(
    embedded_broker: EmbeddedBroker, pytestconfig: pytest.Config
) -> None:
    embedded_broker.kill()
    embedded_broker.start()
    assert await numbered(embedded_broker.bootstrap) == pytestconfig.getoption("--kafka")


async def numbered(bootstrap: str) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return await numbers_producers(admin)
    finally:
        await admin.close()
