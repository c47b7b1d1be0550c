"""Kafka as a Broker: publishers, subscriptions and topics over aiokafka."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateTopicsRequest

from shared.errors import Unreachable
from shared.messaging.kafka_cluster import BROKER_ERRORS, Cluster
from shared.messaging.kafka_publisher import MAX_RECORD_BYTES, KafkaPublisher
from shared.messaging.kafka_subscription import KafkaSubscription, Membership

TOPICS_SECONDS: Final = 10.0
_NO_ERROR: Final = 0
_EXISTS: Final = 36
log = logging.getLogger(__name__)


class KafkaBroker:
    """A Broker at the given address(es), `host:port` with commas between.

    Producers are never idempotent: the embedded broker refuses those, and every consumer looks at its fence
    anyway, so that a duplicate costs one look. publish_seconds bounds one publication; max_record_bytes is
    what the brokers take.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        client_id: str = "handfast",
        replication_factor: int = 1,
        publish_seconds: float = 5.0,
        max_record_bytes: int = MAX_RECORD_BYTES,
        membership: Membership | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._replication_factor = replication_factor
        self._publish_seconds = publish_seconds
        self._max_record_bytes = max_record_bytes
        self._membership = membership or Membership()
        self._topics_cluster = self._cluster()
        self._one_at_a_time = asyncio.Lock()

    def publisher(self) -> KafkaPublisher:
        return KafkaPublisher(
            self._cluster(), publish_seconds=self._publish_seconds, max_record_bytes=self._max_record_bytes
        )

    def subscription(self, group: str, topics: Sequence[str]) -> KafkaSubscription:
        return KafkaSubscription(
            self._bootstrap, group, topics, client_id=self._client_id, membership=self._membership
        )

    async def ensure_topics(self, topics: Mapping[str, int]) -> frozenset[str]:
        """Create the topics that are missing; raise Unreachable while no broker answers."""
        try:
            async with self._one_at_a_time, asyncio.timeout(TOPICS_SECONDS):
                return await self._ensure(topics)
        except BROKER_ERRORS as error:
            self._topics_cluster.disconnect()
            raise Unreachable(f"The broker at {self._bootstrap} is out of reach: {error}") from error

    async def close(self) -> None:
        self._topics_cluster.disconnect()

    async def _ensure(self, topics: Mapping[str, int]) -> frozenset[str]:
        cluster = self._topics_cluster
        for topic in topics:
            cluster.forget(topic)
        await cluster.learn(topics)
        missing = {topic: count for topic, count in topics.items() if not cluster.leaders(topic)}
        if not missing:
            return frozenset()
        request = CreateTopicsRequest(
            create_topic_requests=[
                (topic, count, self._replication_factor, [], []) for topic, count in missing.items()
            ],
            timeout=round(TOPICS_SECONDS * 1000),
            validate_only=False,
        )
        answer = await cluster.ask_controller(request)
        created = set()
        for topic, code, *_ in answer.topic_errors:
            if code == _NO_ERROR:
                created.add(topic)
            elif code != _EXISTS:  # Another program may have been faster.
                log.error("Topic %s can't be created: %s.", topic, for_code(code).__name__)
        return frozenset(created)

    def _cluster(self) -> Cluster:
        return Cluster(
            self._bootstrap, client_id=self._client_id, request_seconds=max(self._publish_seconds, 5.0)
        )
