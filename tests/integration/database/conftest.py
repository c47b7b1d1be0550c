"""A database with one table of notes."""

import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, insert, select

from shared.database.inline import InlineDatabase
from shared.database.place import Schema
from shared.database.port import Database
from shared.database.postgres import PostgresDatabase
from shared.database.postgres_session import Limits
from shared.database.sqlite import SqliteDatabase
from tests.postgres import Server

METADATA = MetaData()
NOTES = Table(
    "notes",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("text", String, unique=True, nullable=False),
)


def write_down(text: str) -> Callable[[Connection], int]:
    """Return work that writes a note."""

    def work(connection: Connection) -> int:
        return connection.execute(insert(NOTES).values(text=text)).rowcount

    return work


def read_notes(connection: Connection) -> list[str]:
    return list(connection.execute(select(NOTES.c.text).order_by(NOTES.c.id)).scalars())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes.db"


@pytest.fixture
async def sqlite(path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(path, busy_timeout_ms=50)
    await database.start()
    await database.write(METADATA.create_all)
    yield database
    await database.close()


@pytest.fixture
def schema(postgres: Server) -> Schema:
    return postgres.schema()


@pytest.fixture
async def in_postgres(schema: Schema) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(schema, limits=Limits(lock_seconds=0.5), randomness=random.Random(1))
    await database.start()
    await database.write(METADATA.create_all)
    yield database
    await database.close()


@pytest.fixture(params=["sqlite", "inline", "postgres"])
def store(request: pytest.FixtureRequest, path: Path) -> Database:
    """Every store, not open yet."""
    if request.param == "postgres":
        return PostgresDatabase(request.getfixturevalue("schema"))
    return SqliteDatabase(path) if request.param == "sqlite" else InlineDatabase(path)


@pytest.fixture
async def database(store: Database) -> AsyncIterator[Database]:
    """Every store, for what they all promise."""
    database = store
    await database.start()
    await database.write(METADATA.create_all)
    yield database
    await database.close()
