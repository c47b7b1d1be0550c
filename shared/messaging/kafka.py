"""Kafka as a Broker: publishers, subscriptions and topics over aiokafka."""

import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from shared.messaging.kafka_access import KafkaAccess
from shared.messaging.kafka_idempotence import numbers_producers
from shared.messaging.kafka_obstacle import obstacle
from shared.messaging.kafka_publisher import BATCH_BYTES, MAX_RECORD_BYTES, KafkaPublisher
from shared.messaging.kafka_subscription import KafkaSubscription, Membership
from shared.messaging.kafka_topic_shape import TopicShape
from shared.messaging.kafka_topics import TOPICS_SECONDS, KafkaTopics


class KafkaBroker:
    """A Broker where `access` leads to.

    publish_seconds bounds one publication; max_record_bytes is what the brokers take; compare_topics: see
    KafkaTopics.
    """

    def __init__(
        self,
        access: KafkaAccess,
        *,
        client_id: str = "handfast",
        shape: TopicShape | None = None,
        compare_topics: bool = False,
        publish_seconds: float = 5.0,
        max_record_bytes: int = MAX_RECORD_BYTES,
        compression: Literal["gzip"] | None = None,
        membership: Membership | None = None,
    ) -> None:
        self._access = access
        self._client_id = client_id
        self._publish_seconds = publish_seconds
        self._max_record_bytes = max_record_bytes
        self._compression = compression
        self._membership = membership or Membership()
        self._topics = KafkaTopics(
            self._admin,
            shape=shape or TopicShape(),
            compare=compare_topics,
            obstacle=partial(obstacle, access),
            created=self._start_over,
        )
        self._publishers: weakref.WeakSet[KafkaPublisher] = weakref.WeakSet()

    def publisher(self) -> KafkaPublisher:
        publisher = KafkaPublisher(
            self._producer, self._topics.partition_counts, publish_seconds=self._publish_seconds
        )
        self._publishers.add(publisher)
        return publisher

    def subscription(self, group: str, topics: Sequence[str]) -> KafkaSubscription:
        return KafkaSubscription(
            self._access,
            group,
            topics,
            client_id=self._client_id,
            membership=self._membership,
            partition_counts=self._topics.partition_counts,
        )

    async def ensure_topics(self, topics: Mapping[str, int]) -> frozenset[str]:
        """Create the topics that are missing; raise Unreachable while no broker answers or lets us."""
        return await self._topics.ensure(topics)

    async def close(self) -> None:
        await self._topics.close()

    def _start_over(self) -> None:
        # The broker may have come back empty: what producers know about it is out of date.
        for publisher in self._publishers:
            publisher.start_over()

    async def _producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            **self._access.options(),
            client_id=self._client_id,
            acks="all",
            enable_idempotence=await self._topics.ask(numbers_producers),
            compression_type=self._compression,
            max_batch_size=BATCH_BYTES,
            max_request_size=self._max_record_bytes,
            request_timeout_ms=round(self._publish_seconds * 1000),
        )

    def _admin(self) -> AIOKafkaAdminClient:
        return AIOKafkaAdminClient(
            **self._access.options(),
            client_id=self._client_id,
            request_timeout_ms=round(TOPICS_SECONDS * 1000),
        )
