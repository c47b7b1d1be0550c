"""One program's messaging over a real broker and a real database."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiokafka
from sqlalchemy import Connection, select

from shared.clock import SystemClock
from shared.database.port import Database
from shared.errors import Unreachable
from shared.identity import ulids
from shared.messaging.broker import Headers, Message, Record
from shared.messaging.consumer import Consumer, Listener, Subject, Verdict
from shared.messaging.kafka import KafkaBroker
from shared.messaging.kafka_access import KafkaAccess
from shared.messaging.kafka_subscription import Membership
from shared.messaging.ledger import LEDGER
from shared.messaging.letters import LETTER, DeadLetter, letter_of
from shared.messaging.outbox import Outbox, OutboxRow
from shared.messaging.relay import Relay
from shared.messaging.retry import Retry
from shared.messaging.settlement import Settlement
from shared.messaging.topics import TopicKeeper

PARTITIONS = 3
MEMBERSHIP = Membership(session_seconds=2.0, heartbeat_seconds=0.3)
PATIENCE = 120.0
"""How long, in seconds, a test waits for what must come, also where other work leaves it hardly any time."""


class World:
    """Topics and groups are its own, so that many can share a broker. verdict: what the handler says."""

    def __init__(self, access: KafkaAccess, database: Database) -> None:
        self.topic = f"topic-{uuid.uuid4().hex[:8]}"
        self.group = f"group-{uuid.uuid4().hex[:8]}"
        self.access = access
        self.clock = SystemClock()
        self.randomness = random.Random(11)
        self.new_id = ulids(self.clock, self.randomness)
        self.database = database
        self.outbox = Outbox(self.clock)
        self.broker = KafkaBroker(access, membership=MEMBERSHIP)
        self.keeper = TopicKeeper(self.broker, {self.topic: PARTITIONS}, check_seconds=0.2)
        self.verdict: Callable[[Record], Verdict] = lambda _record: None
        self.attempts: list[Record] = []
        self.applied: list[bytes | None] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.subscriptions: list[Any] = []

    async def open(self) -> None:
        await self.database.start()
        await self.database.write(create_tables)
        await self.keeper.ensure()

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.broker.close()
        await self.database.close()

    def start(self, run: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(run)
        self.tasks.append(task)
        return task

    def relay(self) -> Relay:
        relay = Relay(self.database, self.outbox, self.broker.publisher())
        self.start(relay.run())
        return relay

    def consume(self, retry: str = "fixed:100ms,3", handle: Any = None) -> Consumer:
        listener = Listener(
            topic=self.topic, handle=handle or self.handle, subject=subject, retry=Retry.parse(retry)
        )
        subscription = self.broker.subscription(self.group, [self.topic])
        self.subscriptions.append(subscription)
        consumer = Consumer(
            subscription,
            [listener],
            group=self.group,
            database=self.database,
            outbox=self.outbox,
            clock=self.clock,
            new_id=self.new_id,
            randomness=self.randomness,
            settlement=Settlement(self.database, self.outbox, self.clock, refresh_seconds=0.2),
        )
        self.start(consumer.run())
        return consumer

    async def handle(self, records: Sequence[Record]) -> list[Verdict]:
        self.attempts.extend(records)
        verdicts = [self.verdict(record) for record in records]
        pairs = zip(records, verdicts, strict=True)
        self.applied.extend(record.value for record, verdict in pairs if verdict is None)
        return verdicts

    async def publish(self, *messages: Message) -> None:
        """Publish, and wait until the broker has it."""
        publisher = self.broker.publisher()
        try:
            results = await publisher.publish(messages)
            assert results == [None] * len(messages)
        finally:
            await publisher.stop()

    async def add(self, *messages: Message) -> None:
        """Put messages into the outbox."""
        await self.database.write(lambda connection: self.outbox.add(connection, messages))

    def message(
        self,
        value: bytes | None,
        *,
        key: bytes | None = b"key",
        partition: int | None = 0,
        headers: Headers = (),
    ) -> Message:
        return Message(self.topic, key, value, headers, partition)

    async def read_topic(self, topic: str, count: int) -> list[Any]:
        """Return at least `count` records of a topic as any Kafka client sees them."""
        reader = aiokafka.AIOKafkaConsumer(**self.access.options(), auto_offset_reset="earliest")
        async with asyncio.timeout(PATIENCE):
            await reader.start()
            try:
                reader.assign([aiokafka.TopicPartition(topic, number) for number in range(PARTITIONS)])
                found: list[Any] = []
                while len(found) < count:
                    for records in (await reader.getmany(timeout_ms=200)).values():
                        found.extend(records)
                return found
            finally:
                await reader.stop()

    async def committed(self) -> dict[int, int | None]:
        reader = aiokafka.AIOKafkaConsumer(
            **self.access.options(), group_id=self.group, enable_auto_commit=False
        )
        await reader.start()
        try:
            found = {}
            for number in range(PARTITIONS):
                found[number] = await reader.committed(aiokafka.TopicPartition(self.topic, number))
            return found
        finally:
            await reader.stop()

    async def letters(self) -> list[DeadLetter]:
        def work(connection: Connection) -> list[DeadLetter]:
            return [letter_of(row) for row in connection.execute(select(LETTER).order_by(LETTER.c.id))]

        return await self.database.read(work)

    async def waiting_rows(self) -> int:
        return len(await self.database.read(lambda c: c.exec_driver_sql("SELECT id FROM outbox").fetchall()))

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for something to become true; condition may be a coroutine function."""
        async with asyncio.timeout(PATIENCE):
            while True:
                result = condition()
                if asyncio.iscoroutine(result):
                    result = await result
                if result:
                    return result
                for task in self.tasks:
                    if task.done() and not task.cancelled():
                        task.result()
                await asyncio.sleep(0.02)

    async def until_topics(self) -> None:
        async def exists() -> bool:
            try:
                await self.keeper.ensure()
            except Unreachable:
                return False
            return True

        await self.until(exists)


@asynccontextmanager
async def world(bootstrap: str, database: Database) -> AsyncIterator[World]:
    one = World(KafkaAccess(bootstrap=bootstrap), database)
    await one.open()
    try:
        yield one
    finally:
        await one.close()


def create_tables(connection: Connection) -> None:
    for table in (OutboxRow.__table__, LETTER, LEDGER):  # type: ignore[attr-defined]
        table.create(connection, checkfirst=True)


def subject(record: Record) -> Subject:
    if record.value is None:
        raise ValueError("null is no branch")
    text = record.value.decode("utf-8")
    return Subject(text, f"tx-{text}")
