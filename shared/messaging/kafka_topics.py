"""The topics of a Kafka cluster, over aiokafka's admin client: looked at and created, every call bounded.

A topic that is there is never changed. What is other than it would be created is said once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from shared.errors import Unreachable
from shared.messaging.kafka_topic_shape import COMPARED, TopicShape

BROKER_ERRORS: Final = (KafkaError, OSError, TimeoutError, AssertionError)
"""What a broker that is away, going away or confused shows itself as; TimeoutError is asyncio's, too."""
TOPICS_SECONDS: Final = 10.0
CONFIGS_SECONDS: Final = 5.0
"""How long the settings of topics are waited for, which is all that isn't needed to go on."""
CLOSE_SECONDS: Final = 1.0
_NO_ERROR: Final = 0

T = TypeVar("T")

log = logging.getLogger(__name__)


class KafkaTopics:
    """Asks over one admin client, made when it is needed; one that failed is given up.

    shape: what topics are created with; compare: whether to look at the settings of those that are there,
    which not every broker tells; obstacle: asked for the reason, in words, where nobody answers; created:
    is called when topics were.
    """

    def __init__(
        self,
        new_admin: Callable[[], AIOKafkaAdminClient],
        *,
        shape: TopicShape,
        compare: bool,
        obstacle: Callable[[], Awaitable[str | None]],
        created: Callable[[], None],
    ) -> None:
        self._new_admin = new_admin
        self._shape = shape
        self._compare = compare
        self._obstacle = obstacle
        self._created = created
        self._compared: set[str] = set()
        self._admin: AIOKafkaAdminClient | None = None
        self._one_at_a_time = asyncio.Lock()

    async def partition_counts(self) -> dict[str, int]:
        """Return the topics whose partitions all have a leader, and how many partitions each has.

        Raises Unreachable while no broker answers.
        """
        return await self.ask(_partition_counts)

    async def ensure(self, topics: Mapping[str, int]) -> frozenset[str]:
        """Create those that are missing, return their names.

        Raises Unreachable while no broker answers, and where one is missing that can't be created.
        """

        async def work(admin: AIOKafkaAdminClient) -> tuple[frozenset[str], list[str]]:
            there = await _replicas(admin)
            configs = self._shape.configs()
            missing = [
                NewTopic(topic, count, self._shape.replicas, topic_configs=configs)
                for topic, count in topics.items()
                if topic not in there
            ]
            created, refused = await _create(admin, missing) if missing else (frozenset(), [])
            if created:
                self._created()
            if self._compare:
                await self._say_differences(admin, topics, there)
            return created, refused

        created, refused = await self.ask(work)
        if refused:
            raise Unreachable(" ".join(refused))
        return created

    async def close(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            await _close(admin)

    async def ask(self, work: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
        """Have the admin client do something, within a bound. Raises Transient, with the reason in words."""
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(TOPICS_SECONDS):
                    return await work(await self._started())
            except BROKER_ERRORS as error:
                await self.close()
                why = await self._obstacle()
                raise Unreachable(why or f"No broker answers about the topics: {error!r}") from error

    async def _say_differences(
        self, admin: AIOKafkaAdminClient, topics: Mapping[str, int], there: Mapping[str, Sequence[int]]
    ) -> None:
        new = [topic for topic in topics if topic in there and topic not in self._compared]
        if not new:
            return
        self._compared.update(new)
        try:
            async with asyncio.timeout(CONFIGS_SECONDS):
                configs = await _configs(admin, new)
        except BROKER_ERRORS as error:
            # Some end the connection over the question. The topics are there all the same.
            log.info("The broker doesn't tell the settings of topics: %r", error)
            await self.close()
            return
        for topic in new:
            for difference in self._shape.differences(topics[topic], there[topic], configs.get(topic, {})):
                log.warning("Topic %s is there and stays as it is: %s.", topic, difference)

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
    return {topic: len(replicas) for topic, replicas in (await _replicas(admin)).items()}


async def _replicas(admin: AIOKafkaAdminClient) -> dict[str, list[int]]:
    """Return how many replicas each partition has, of the topics whose partitions all have a leader."""
    # All topics: asking for one by name would have a broker create it that creates topics on demand, and
    # not with our partitions.
    described: list[dict[str, Any]] = await admin.describe_topics()
    return {
        topic["topic"]: [len(partition["replicas"]) for partition in topic["partitions"]]
        for topic in described
        if topic["error_code"] == _NO_ERROR
        and topic["partitions"]
        and all(partition["leader"] >= 0 for partition in topic["partitions"])
    }


async def _configs(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, dict[str, str | None]]:
    """Return the settings of topics; what we aren't told is left out."""
    wanted = dict.fromkeys(COMPARED)
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic, wanted) for topic in topics]
    found: dict[str, dict[str, str | None]] = {}
    for answer in await admin.describe_configs(asked):
        for code, _, _, topic, entries in answer.resources:
            if code == _NO_ERROR:
                found[topic] = {name: value for name, value, *_ in entries}
            else:
                log.info("The settings of topic %s are not told: %s.", topic, for_code(code).__name__)
    return found


async def _create(admin: AIOKafkaAdminClient, missing: list[NewTopic]) -> tuple[frozenset[str], list[str]]:
    """Return the names of those created, and in words why others can't be."""
    try:
        answer = await admin.create_topics(missing)
    except AttributeError as error:  # This is how it says that the cluster has no controller now.
        raise KafkaError("The cluster names no controller.") from error
    created, refused = set(), []
    for topic, code, *message in answer.topic_errors:
        if code == _NO_ERROR:
            created.add(topic)
        elif code != TopicAlreadyExistsError.errno:  # Another program may have been faster.
            said = " ".join([for_code(code).__name__, *(part for part in message if part)])
            refused.append(f"Topic {topic} is missing and can't be created: {said}")
    return frozenset(created), refused


async def _close(admin: AIOKafkaAdminClient) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await admin.close()
    except BROKER_ERRORS as error:
        log.debug("The admin client did not close by itself: %r", error)
