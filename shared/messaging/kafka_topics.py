"""The topics of a Kafka cluster, over aiokafka's admin client: looked at and created, every call bounded."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from shared.errors import Unreachable

BROKER_ERRORS: Final = (KafkaError, OSError, TimeoutError, AssertionError)
"""What a broker that is away, going away or confused shows itself as; TimeoutError is asyncio's, too."""
TOPICS_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 1.0
_NO_ERROR: Final = 0

T = TypeVar("T")

log = logging.getLogger(__name__)


class KafkaTopics:
    """Asks over one admin client, made when it is needed; one that failed is given up."""

    def __init__(self, new_admin: Callable[[], AIOKafkaAdminClient], *, replication_factor: int) -> None:
        self._new_admin = new_admin
        self._replication_factor = replication_factor
        self._admin: AIOKafkaAdminClient | None = None
        self._one_at_a_time = asyncio.Lock()

    async def partition_counts(self) -> dict[str, int]:
        """Return the topics whose partitions all have a leader, and how many partitions each has.

        Raises Unreachable while no broker answers.
        """
        return await self._ask(_partition_counts)

    async def ensure(self, topics: Mapping[str, int]) -> frozenset[str]:
        """Create those that are missing, return their names; raise Unreachable while no broker answers."""

        async def work(admin: AIOKafkaAdminClient) -> frozenset[str]:
            there = await _partition_counts(admin)
            missing = [
                NewTopic(topic, count, self._replication_factor)
                for topic, count in topics.items()
                if topic not in there
            ]
            return await _create(admin, missing) if missing else frozenset()

        return await self._ask(work)

    async def close(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            await _close(admin)

    async def _ask(self, work: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(TOPICS_SECONDS):
                    return await work(await self._started())
            except BROKER_ERRORS as error:
                await self.close()
                raise Unreachable(f"No broker answers about the topics: {error!r}") from error

    async def _started(self) -> AIOKafkaAdminClient:
        if self._admin is None:
            admin = self._new_admin()
            try:
                await admin.start()
            except BaseException:
                await _close(admin)
                raise
            self._admin = admin
        return self._admin


async def _partition_counts(admin: AIOKafkaAdminClient) -> dict[str, int]:
    # All topics: asking for one by name would have a broker create it that creates topics on demand, and
    # not with our partitions.
    described: list[dict[str, Any]] = await admin.describe_topics()
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in described
        if topic["error_code"] == _NO_ERROR
        and topic["partitions"]
        and all(partition["leader"] >= 0 for partition in topic["partitions"])
    }


async def _create(admin: AIOKafkaAdminClient, missing: list[NewTopic]) -> frozenset[str]:
    try:
        answer = await admin.create_topics(missing)
    except AttributeError as error:  # This is how it says that the cluster has no controller now.
        raise KafkaError("The cluster names no controller.") from error
    created = set()
    for topic, code, *_ in answer.topic_errors:
        if code == _NO_ERROR:
            created.add(topic)
        elif code != TopicAlreadyExistsError.errno:  # Another program may have been faster.
            log.error("Topic %s can't be created: %s.", topic, for_code(code).__name__)
    return frozenset(created)


async def _close(admin: AIOKafkaAdminClient) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await admin.close()
    except BROKER_ERRORS as error:
        log.debug("The admin client did not close by itself: %r", error)
