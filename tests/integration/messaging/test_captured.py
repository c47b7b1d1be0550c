"""An outbox that is captured: what the publication of its rows tells, and whether anybody reads the slot."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, text

from shared.clock import SystemClock
from shared.database.place import Schema
from shared.database.postgres import PostgresDatabase
from shared.messaging.broker import Message
from shared.messaging.capture import CaptureWatch
from shared.messaging.cloudevents import event_headers
from shared.messaging.outbox import Outbox
from shared.migrations import upgrade
from shared.migrations.publication import NotPublished, publish_outboxes
from tests.e2e.waiting import until
from tests.postgres import Server

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
KEY = b"key\x00"
EVENT = Message(
    "stock-adjustment",
    KEY,
    b'{"some":"value"}',
    event_headers(event_id="b1.confirm", source="stock", event_type="confirm", at=0, traceparent=TRACE),
)
LETTER = EVENT._replace(topic="dlt-stock-adjustment", headers=(*EVENT.headers, ("foreign", b"\xff")))


class Log:
    """The log as whoever follows a publication sees it. name: of publication and slot."""

    def __init__(self, connection: Any, name: str) -> None:
        self._connection = connection
        self._name = name

    async def inserts(self) -> list[bytes]:
        """Return the rows that were inserted since the last call, as they are sent."""
        return [said for said in await self._messages() if said.startswith(b"I")]

    async def others(self) -> list[bytes]:
        """Return what else was done to rows."""
        return [said for said in await self._messages() if said[:1] in b"UDT"]

    async def _messages(self) -> list[bytes]:
        rows = await self._connection.fetch(
            "SELECT data FROM pg_logical_slot_peek_binary_changes($1::text::name, NULL, NULL, "
            "'proto_version', '1', 'publication_names', $1)",
            self._name,
        )
        return [bytes(row["data"]) for row in rows]


@pytest.fixture(scope="module")
def schema(postgres: Server) -> Schema:
    """A service's schema, published under its own name."""
    schema = postgres.no_schema()
    upgrade(schema, "stock")
    publish_outboxes(schema.name, [schema])
    return schema


@pytest.fixture
async def database(schema: Schema) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(schema)
    await database.start()
    await database.write(lambda connection: connection.execute(text("DELETE FROM outbox")))
    yield database
    await database.close()


@pytest.fixture
async def log(postgres: Server, schema: Schema) -> AsyncIterator[Log]:
    async with reader(postgres, schema.name) as connection:
        yield Log(connection, schema.name)


@contextlib.asynccontextmanager
async def reader(postgres: Server, slot: str) -> AsyncIterator[Any]:
    """Have a slot of that name in use, which is gone with the connection."""
    connection = await asyncpg.connect(postgres.url)
    try:
        await connection.execute(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput', true)")
        yield connection
    finally:
        await connection.close()


async def add(database: PostgresDatabase, *messages: Message) -> None:
    outbox = Outbox(SystemClock(), captured=True)
    await database.write(lambda connection: outbox.add(connection, messages))


async def count(database: PostgresDatabase) -> int:
    rows = await database.read(lambda connection: connection.execute(text("SELECT id FROM outbox")).all())
    return len(rows)


async def test_an_event_is_in_the_log_and_in_no_table(database: PostgresDatabase, log: Log) -> None:
    await add(database, EVENT, EVENT)
    assert await count(database) == 0
    first, second = await log.inserts()
    for said in (first, second):
        for part in (b"stock-adjustment", b"b1.confirm", TRACE.encode(), KEY.hex().encode()):
            assert part in said
    assert await log.others() == [], "that the rows are gone is told to nobody"


async def test_what_is_left_to_the_relay_is_told_to_nobody_else(database: PostgresDatabase, log: Log) -> None:
    await add(database, LETTER)
    assert await count(database) == 1
    assert (await log.inserts(), await log.others()) == ([], [])


async def test_what_is_rolled_back_is_in_no_log(database: PostgresDatabase, log: Log) -> None:
    outbox = Outbox(SystemClock(), captured=True)

    def fail(connection: Connection) -> None:
        outbox.add(connection, [EVENT])
        raise RuntimeError("undone")

    with pytest.raises(RuntimeError, match="undone"):
        await database.write(fail)
    assert await log.inserts() == []


def test_publishing_again_follows_the_programs_that_there_are(postgres: Server) -> None:
    stock = postgres.no_schema()
    payment = Schema(stock.url, f"{stock.name}_payment")
    upgrade(stock, "stock")
    upgrade(payment, "payment")
    name = f"{stock.name}_all"
    for schemas in ([stock], [stock, payment], [stock, payment]):
        publish_outboxes(name, schemas)
        rows = postgres.execute("SELECT pubname, schemaname, rowfilter FROM pg_publication_tables")
        rows = [row for row in rows if row["pubname"] == name]
        assert {row["schemaname"] for row in rows} == {schema.name for schema in schemas}
        assert {row["rowfilter"] for row in rows} == {"(ce_id IS NOT NULL)"}


def test_a_schema_that_is_not_migrated_can_not_be_published(postgres: Server) -> None:
    schema = postgres.schema()
    with pytest.raises(NotPublished, match="outbox"):
        publish_outboxes(schema.name, [schema])


async def test_the_watch_tells_what_is_wrong_with_the_slot(
    postgres: Server, schema: Schema, database: PostgresDatabase
) -> None:
    slot = f"{schema.name}_watched"
    watch = CaptureWatch(database, slot, look_seconds=0.01, grace_seconds=0.1)
    assert watch.health() is not None
    watching = asyncio.create_task(watch.run())
    try:
        await until(lambda: "There is no replication slot" in (watch.health() or ""), "the slot is missed")
        async with reader(postgres, slot):
            await until(lambda: watch.health() is None, "it is seen")
        await until(lambda: "There is no replication slot" in (watch.health() or ""), "it is missed again")
        await postgres.fetch(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
        try:
            await until(lambda: "Nobody reads" in (watch.health() or ""), "nobody reads it")
        finally:
            await postgres.fetch(f"SELECT pg_drop_replication_slot('{slot}')")
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_connector_that_moves_is_given_some_time(
    postgres: Server, schema: Schema, database: PostgresDatabase
) -> None:
    slot = f"{schema.name}_moving"
    watch = CaptureWatch(database, slot, look_seconds=0.01, grace_seconds=60.0)
    watching = asyncio.create_task(watch.run())
    try:
        async with reader(postgres, slot):
            await until(lambda: watch.health() is None, "it is seen")
        await asyncio.sleep(0.1)  # Ten looks, at any of which it could be missed.
        assert watch.health() is None
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
