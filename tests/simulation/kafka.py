"""A program's way to the simulated broker: the one in memory, behind the program's gate and the faults."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from shared.errors import Unreachable
from shared.messaging.broker import Message, Record, TopicPartition
from shared.messaging.memory import MemoryBroker, MemorySubscription
from tests.simulation.conditions import Conditions, Fault
from tests.simulation.life import Life
from tests.simulation.past import Past
from tests.simulation.trace import Trace
from tests.simulation.watch import Watch

SESSION_SECONDS: Final = 3.0
"""After so long without a sign of life a member is out of its group."""


class LifesBroker:
    """The Broker of one life of a program."""

    def __init__(
        self,
        life: Life,
        broker: MemoryBroker,
        conditions: Conditions,
        randomness: random.Random,
        trace: Trace,
        watch: Watch,
        past: Past,
    ) -> None:
        self.life = life
        self.broker = broker
        self.conditions = conditions
        self.trace = trace
        self.watch = watch
        self.past = past
        self._randomness = randomness
        self._subscriptions: list[MemorySubscription] = []

    def publisher(self) -> "_Publisher":
        return _Publisher(self)

    def subscription(self, group: str, topics: Sequence[str]) -> "_Subscription":
        subscription = self.broker.subscription(group, topics)
        self._subscriptions.append(subscription)
        return _Subscription(self, subscription, group)

    async def ensure_topics(self, topics: Mapping[str, int]) -> frozenset[str]:
        await self.reach()
        return await self.broker.ensure_topics(topics)

    async def close(self) -> None:
        """The broker is nobody's own."""

    async def reach(self) -> None:
        """Take the way to the broker."""
        await self.life.gate()
        await asyncio.sleep(self._randomness.uniform(0.0002, 0.003))
        await self.life.gate()

    async def expel(self) -> None:
        """Take its members out of their groups: nothing was heard of them for too long."""
        for subscription in self._subscriptions:
            await subscription.stop()

    async def rejoin(self) -> None:
        """Let its members in again, if they still live."""
        if not self.life.alive:
            return
        for subscription in self._subscriptions:
            await subscription.start()


class _Publisher:
    def __init__(self, way: LifesBroker) -> None:
        self._way = way
        self._publisher = way.broker.publisher()

    async def start(self) -> None:
        await self._way.reach()
        await self._publisher.start()

    async def publish(self, messages: Sequence[Message]) -> list[Exception | None]:
        await self._way.reach()
        results = await self._publisher.publish(messages)
        name = self._way.life.name
        for index, message in enumerate(messages):
            key = (message.key or b"").decode(errors="replace")
            self._way.trace.note(
                f"{name} publishes {message.topic} {key}{'' if results[index] is None else ' in vain'}"
            )
            if results[index] is None:
                self._way.past.published(message)
            if results[index] is None and self._way.conditions.strikes(Fault.PRODUCED_UNTOLD, name):
                results[index] = Unreachable("The acknowledgement was lost.")
        await self._way.reach()
        return results

    async def stop(self) -> None:
        await self._publisher.stop()


class _Subscription:
    def __init__(self, way: LifesBroker, subscription: MemorySubscription, group: str) -> None:
        self._way = way
        self._subscription = subscription
        self._group = group

    async def start(self) -> None:
        await self._way.reach()
        await self._subscription.start()

    async def fetch(self, max_records: int, wait: float) -> Mapping[TopicPartition, Sequence[Record]]:
        await self._way.reach()
        if self._way.conditions.deaf:
            await asyncio.sleep(wait)
            return {}
        records = await self._subscription.fetch(max_records, wait)
        await self._way.life.gate()
        return records

    def assigned(self) -> frozenset[TopicPartition]:
        return self._subscription.assigned()

    def high_water(self) -> Mapping[TopicPartition, int]:
        return self._subscription.high_water()

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        self._subscription.pause(partitions)

    def resume(self, partitions: frozenset[TopicPartition]) -> None:
        self._subscription.resume(partitions)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._subscription.seek(partition, offset)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        await self._way.reach()
        before = self._way.broker.committed(self._group)
        await self._subscription.commit(offsets)
        for place, offset in offsets.items():
            passed = self._way.broker.log_of(place)[before.get(place, 0) : offset]
            self._way.watch.passed(self._way.life.name, passed)

    def on_assignment_change(self, listener: Callable[[frozenset[TopicPartition]], None]) -> None:
        self._subscription.on_assignment_change(listener)

    async def stop(self) -> None:
        # A program that crashed says no good-bye: its group waits for it until its session is over.
        if self._way.life.alive:
            await self._subscription.stop()
