"""Outbox rows whose commits overtake their numbers: PostgreSQL numbers a row when it is written, not when it
is committed, so that a row may appear behind a reader that goes by numbers."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.util import await_only
from sqlmodel import SQLModel

from shared.clock import SystemClock
from shared.database.pipeline import send_waiting
from shared.database.place import Schema
from shared.database.port import table_of
from shared.database.postgres import PostgresDatabase
from shared.messaging.broker import Message
from shared.messaging.memory import MemoryBroker
from shared.messaging.outbox import Outbox, OutboxRow
from shared.messaging.relay import Relay
from shared.messaging.topics import TopicKeeper
from tests.postgres import Server

TOPIC = "news"


@pytest.fixture
def schema(postgres: Server) -> Schema:
    return postgres.schema()


@pytest.fixture
async def database(schema: Schema) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(schema)
    await database.start()
    await database.write(
        lambda connection: SQLModel.metadata.create_all(connection, tables=[table_of(OutboxRow)])
    )
    try:
        yield database
    finally:
        await database.close()


def numbers_after(last: int) -> Callable[[Connection], list[int]]:
    """Read as a reader does that remembers how far it came."""
    statement = text("SELECT id FROM outbox WHERE id > :last ORDER BY id")
    return lambda connection: list(connection.execute(statement, {"last": last}).scalars())


async def test_a_row_that_was_overtaken_is_published(database: PostgresDatabase) -> None:
    clock = SystemClock()
    outbox, broker = Outbox(clock), MemoryBroker(clock)
    await TopicKeeper(broker, {TOPIC: 1}).ensure()
    relay = Relay(database, outbox, broker.publisher(), poll_seconds=60.0)
    numbered, overtaken = asyncio.Event(), asyncio.Event()

    async def published(*values: bytes) -> None:
        async with asyncio.timeout(10):
            while [record.value for record in broker.records(TOPIC)] != list(values):  # noqa: ASYNC110 - the broker has no sign for it
                await asyncio.sleep(0.002)

    def slow(connection: Connection) -> None:
        outbox.add(connection, [Message(TOPIC, b"k", b"first")])
        send_waiting(connection)
        numbered.set()
        await_only(overtaken.wait())

    slowly = asyncio.create_task(database.write(slow))
    await numbered.wait()
    relaying = asyncio.create_task(relay.run())
    await database.write(lambda connection: outbox.add(connection, [Message(TOPIC, b"k", b"second")]))
    await published(b"second")
    # Whoever remembered how far it came would be past the first row now, which isn't even there yet.
    overtaken.set()
    await slowly
    # Its own commit has announced it: the poll would come a minute later.
    await published(b"second", b"first")

    relaying.cancel()
    await asyncio.gather(relaying, return_exceptions=True)
    assert await database.read(numbers_after(0)) == []


async def test_a_reader_that_goes_by_numbers_would_skip_it(database: PostgresDatabase) -> None:
    outbox = Outbox(SystemClock())
    numbered, overtaken = asyncio.Event(), asyncio.Event()

    def slow(connection: Connection) -> None:
        outbox.add(connection, [Message(TOPIC, b"k", b"first")])
        send_waiting(connection)
        numbered.set()
        await_only(overtaken.wait())

    slowly = asyncio.create_task(database.write(slow))
    await numbered.wait()
    await database.write(lambda connection: outbox.add(connection, [Message(TOPIC, b"k", b"second")]))
    seen = await database.read(numbers_after(0))
    overtaken.set()
    await slowly

    assert seen == [2]
    assert await database.read(numbers_after(seen[-1])) == [], "the first row is never seen"
    assert await database.read(numbers_after(0)) == [1, 2]
