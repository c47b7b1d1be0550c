"""One program's messaging in memory, on virtual time: a broker, a database, a relay, consumers, a handler."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, select

from shared.database.inline import InlineDatabase
from shared.errors import DatabaseUnavailable, Unreachable
from shared.identity import ulids
from shared.messaging.broker import Headers, Message, Record
from shared.messaging.consumer import Consumer, Listener, Subject, Verdict
from shared.messaging.ledger import LEDGER
from shared.messaging.letter_office import LetterOffice
from shared.messaging.letters import LETTER, DeadLetter, letter_of
from shared.messaging.memory import MemoryBroker, MemorySubscription
from shared.messaging.outbox import Outbox, OutboxRow
from shared.messaging.prospects import Prospect, Prospects
from shared.messaging.relay import Relay
from shared.messaging.retry import Retry
from shared.messaging.settlement import Settlement
from shared.messaging.topics import TopicKeeper
from tests.simulation.loop import VirtualClock

TOPIC = "stock-adjustment"
GROUP = "stock"


class FragileDatabase(InlineDatabase):
    """A database that can be taken away, wholly or for writes that match."""

    def __init__(self) -> None:
        super().__init__()
        self.available = True

    async def write(self, work: Callable[[Connection], Any]) -> Any:
        self._check()
        return await super().write(work)

    async def read(self, work: Callable[[Connection], Any]) -> Any:
        self._check()
        return await super().read(work)

    def _check(self) -> None:
        if not self.available:
            raise DatabaseUnavailable("the disk is gone")


class World:
    """What the tests see. verdict: what the handler says of a record; attempts: (second, value);
    prospect: what every letter stands for, or why nobody can tell; untold: letters of which nobody can."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = VirtualClock(self.loop)
        self.randomness = random.Random(7)
        self.new_id = ulids(self.clock, self.randomness)
        self.broker = MemoryBroker(self.clock)
        self.database = FragileDatabase()
        self.outbox = Outbox(self.clock)
        self.registry = CollectorRegistry()
        self.verdict: Callable[[Record], Verdict] = lambda _record: None
        self.attempts: list[tuple[float, bytes | None]] = []
        self.batches: list[int] = []
        self.outcomes: list[DeadLetter] = []
        self.prospect: Prospect | Exception = Prospect.DECIDED
        self.untold: set[str] = set()
        self.subscriptions: list[MemorySubscription] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def open(self, partitions: int = 3) -> None:
        await self.database.start()
        await self.database.write(create_tables)
        await TopicKeeper(self.broker, {TOPIC: partitions}).ensure()

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.database.close()

    def listener(self, retry: str = "fixed:1s,3", topic: str = TOPIC) -> Listener:
        return Listener(
            topic=topic,
            handle=self.handle,
            subject=subject,
            retry=Retry.parse(retry),
            on_dead_letter=lambda _connection, _record, letter: self.outcomes.append(letter),
        )

    def consume(self, *listeners: Listener, **options: Any) -> Consumer:
        """Start a consumer; call it again for a second member of the group."""
        wanted = listeners or (self.listener(),)
        subscription = self.broker.subscription(GROUP, [listener.topic for listener in wanted])
        self.subscriptions.append(subscription)
        consumer = Consumer(
            subscription,
            wanted,
            group=GROUP,
            database=self.database,
            outbox=self.outbox,
            clock=self.clock,
            new_id=self.new_id,
            randomness=self.randomness,
            **{"settlement": Settlement(self.database, self.outbox, self.clock), **options},
        )
        self.start(consumer.run())
        return consumer

    def office(self, max_replays: int = 3, prospects: Prospects | None = None) -> LetterOffice:
        return LetterOffice(
            database=self.database,
            outbox=self.outbox,
            clock=self.clock,
            new_id=self.new_id,
            listeners=[self.listener()],
            prospects=prospects or self,
            max_replays=max_replays,
        )

    async def of(self, letter: DeadLetter) -> Prospect:
        """Tell what letters stand for, as the test has it."""
        if letter.id in self.untold:
            raise Unreachable("the coordinator stumbles over this one")
        if isinstance(self.prospect, Exception):
            raise self.prospect
        return self.prospect

    def relay(self) -> Relay:
        relay = Relay(self.database, self.outbox, self.broker.publisher())
        self.start(relay.run())
        return relay

    def start(self, run: Any) -> asyncio.Task[None]:
        task = self.loop.create_task(run)
        self.tasks.append(task)
        return task

    async def handle(self, records: Sequence[Record]) -> list[Verdict]:
        self.batches.append(len(records))
        self.attempts.extend((round(self.loop.time(), 3), record.value) for record in records)
        return [self.verdict(record) for record in records]

    def publish(
        self,
        value: bytes | None,
        *,
        key: bytes | None = b"k",
        partition: int = 0,
        headers: Headers = (),
        topic: str = TOPIC,
    ) -> None:
        self.broker.append(Message(topic, key, value, headers, partition))

    def attempts_of(self, value: bytes) -> list[float]:
        return [at for at, seen in self.attempts if seen == value]

    async def letters(self) -> list[DeadLetter]:
        def work(connection: Connection) -> list[DeadLetter]:
            return [letter_of(row) for row in connection.execute(select(LETTER).order_by(LETTER.c.id))]

        return await InlineDatabase.read(self.database, work)

    def offsets(self) -> dict[int, int]:
        """Return the committed offset of each partition of the topic."""
        return {
            partition.partition: offset
            for partition, offset in self.broker.committed(GROUP).items()
            if partition.topic == TOPIC
        }

    async def until(self, condition: Callable[[], Any], seconds: float = 120) -> None:
        """Wait, on virtual time, for something to become true."""
        async with asyncio.timeout(seconds):
            while not condition():
                self.check_alive()
                await asyncio.sleep(0.01)

    async def until_letters(self, condition: Callable[[list[DeadLetter]], Any]) -> list[DeadLetter]:
        async with asyncio.timeout(300):
            while not condition(letters := await self.letters()):
                self.check_alive()
                await asyncio.sleep(0.01)
        return letters

    def check_alive(self) -> None:
        """Fail where a loop that should run has died."""
        for task in self.tasks:
            if task.done() and not task.cancelled():
                task.result()
                raise AssertionError("a loop ended by itself")


@asynccontextmanager
async def world(partitions: int = 3) -> AsyncIterator[World]:
    one = World()
    await one.open(partitions)
    try:
        yield one
    finally:
        await one.close()


def create_tables(connection: Connection) -> None:
    for table in (OutboxRow.__table__, LETTER, LEDGER):  # type: ignore[attr-defined]
        table.create(connection)


def subject(record: Record) -> Subject:
    """Every value is a branch id, unless it is no text."""
    if record.value is None:
        raise ValueError("null is no branch")
    return Subject(record.value.decode("utf-8"), "tx-of-" + record.value.decode("utf-8"))
