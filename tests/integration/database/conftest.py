"""A database with one table of notes."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, insert, select

from shared.database.inline import InlineDatabase
from shared.database.port import Database
from shared.database.sqlite import SqliteDatabase

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


@pytest.fixture(params=[SqliteDatabase, InlineDatabase])
async def database(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Database]:
    """Every store, for what they all promise."""
    kind: Any = request.param
    database: Database = kind(path)
    await database.start()
    await database.write(METADATA.create_all)
    yield database
    await database.close()
