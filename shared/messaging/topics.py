"""Topics are made sure of: created at start with their `dlt-` twins, and again whenever they are missing."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from shared.errors import Transient
from shared.messaging.broker import Broker

DEAD_LETTER_PREFIX: Final = "dlt-"
log = logging.getLogger(__name__)


def dead_letter_topic(topic: str) -> str:
    """Return the name of a topic's twin for dead letters."""
    return DEAD_LETTER_PREFIX + topic


class TopicKeeper:
    """Keeps topics in existence. topics: name to partition count; their twins get the same count."""

    def __init__(self, broker: Broker, topics: Mapping[str, int], *, check_seconds: float = 2.0) -> None:
        self._broker = broker
        twins = {dead_letter_topic(topic): partitions for topic, partitions in topics.items()}
        self._topics = {**topics, **twins}
        self._check_seconds = check_seconds
        self._problem: str | None = "the topics have not been looked at yet"

    async def ensure(self) -> frozenset[str]:
        """Create what is missing; return its names. Raises Transient while the broker is away."""
        created = await self._broker.ensure_topics(self._topics)
        if created:
            log.info("Created topics %s.", ", ".join(sorted(created)))
        return created

    async def run(self) -> None:
        """Look again and again, for a broker may come back and have forgotten everything."""
        while True:
            try:
                await self.ensure()
            except Transient as error:
                if self._problem != str(error):
                    log.warning("The topics can't be made sure of: %s", error)
                self._problem = str(error)
            else:
                self._problem = None
            await asyncio.sleep(self._check_seconds)

    def health(self) -> str | None:
        """Return what is wrong, or None."""
        return self._problem
