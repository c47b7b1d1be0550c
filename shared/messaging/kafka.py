"""Kafka as a Broker: publishers, subscriptions and topics over aiokafka."""

import weakref
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from shared.messaging.kafka_publisher import BATCH_BYTES, MAX_RECORD_BYTES, KafkaPublisher
from shared.messaging.kafka_subscription import KafkaSubscription, Membership
from shared.messaging.kafka_topics import TOPICS_SECONDS, KafkaTopics


class KafkaBroker:
    """A Broker at the given address(es), `host:port` with commas between.

    enable_idempotence: whether producers number their records so that brokers drop repeated ones. The
    embedded broker refuses that, and every consumer looks at its fence anyway, so that a duplicate costs one
    look. publish_seconds bounds one publication; max_record_bytes is what the brokers take.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        client_id: str = "handfast",
        replication_factor: int = 1,
        publish_seconds: float = 5.0,
        max_record_bytes: int = MAX_RECORD_BYTES,
        enable_idempotence: bool = False,
        membership: Membership | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._publish_seconds = publish_seconds
        self._max_record_bytes = max_record_bytes
        self._enable_idempotence = enable_idempotence
        self._membership = membership or Membership()
        self._topics = KafkaTopics(self._admin, replication_factor=replication_factor)
        self._publishers: weakref.WeakSet[KafkaPublisher] = weakref.WeakSet()

    def publisher(self) -> KafkaPublisher:
        publisher = KafkaPublisher(
            self._producer, self._topics.partition_counts, publish_seconds=self._publish_seconds
        )
        self._publishers.add(publisher)
        return publisher

    def subscription(self, group: str, topics: Sequence[str]) -> KafkaSubscription:
        return KafkaSubscription(
            self._bootstrap,
            group,
            topics,
            client_id=self._client_id,
            membership=self._membership,
            partition_counts=self._topics.partition_counts,
        )

    async def ensure_topics(self, topics: Mapping[str, int]) -> frozenset[str]:
        """Create the topics that are missing; raise Unreachable while no broker answers."""
        created = await self._topics.ensure(topics)
        if created:
            # The broker may have come back empty: what producers know about it is out of date.
            for publisher in self._publishers:
                publisher.start_over()
        return created

    async def close(self) -> None:
        await self._topics.close()

    def _producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id=self._client_id,
            acks="all",
            enable_idempotence=self._enable_idempotence,
            max_batch_size=BATCH_BYTES,
            max_request_size=self._max_record_bytes,
            request_timeout_ms=round(self._publish_seconds * 1000),
        )

    def _admin(self) -> AIOKafkaAdminClient:
        return AIOKafkaAdminClient(
            bootstrap_servers=self._bootstrap,
            client_id=self._client_id,
            request_timeout_ms=round(TOPICS_SECONDS * 1000),
        )
