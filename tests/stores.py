"""A program's database as tests get at it past the program, in whichever store: to read rows, or plant some.

A query is written once, with `?` for its values. What runs an event loop of its own says so.
"""

import asyncio
import itertools
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
from sqlalchemy import Connection

from shared.database.place import Place
from shared.database.sqlite import sqlite_engine
from shared.migrations.postgres import in_one_transaction

T = TypeVar("T")

Row = tuple[Any, ...]
_HOLE: Final = re.compile(r"\?")


async def fetch(place: Place, query: str, *values: Any) -> list[Row]:
    """Return the rows of a query that changes nothing, from a database that is there."""
    if isinstance(place, Path):
        return _fetch_from_file(place, query, values)
    connection = await asyncpg.connect(place.dsn, server_settings={"search_path": place.name})
    try:
        numbers = itertools.count(1)
        numbered = _HOLE.sub(lambda _: f"${next(numbers)}", query)
        return [tuple(row) for row in await connection.fetch(numbered, *values)]
    finally:
        await connection.close()


def rows_of(place: Place, query: str, *values: Any) -> list[Row]:
    """Do the same outside an event loop: it runs one of its own."""
    return asyncio.run(fetch(place, query, *values))


def within(place: Place, work: Callable[[Connection], T]) -> T:
    """Run work in one transaction of a database, which is made if it isn't there; outside an event loop."""
    if not isinstance(place, Path):
        return in_one_transaction(place, work)
    engine = sqlite_engine(place)
    try:
        with engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("BEGIN")
            return work(connection)
    finally:
        engine.dispose()


def _fetch_from_file(path: Path, query: str, values: tuple[Any, ...]) -> list[Row]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
        return connection.execute(query, values).fetchall()
