"""A connection to PostgreSQL that one piece of work after the other has to itself, and how it is opened."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import asyncpg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from shared.database.pipeline import Surprise, pipelined, send_waiting
from shared.database.place import Schema
from shared.database.port import Work, take_announced

T = TypeVar("T")

MORE_THAN_THE_SERVER_SECONDS: Final = 5.0
"""The client waits so much longer than the server allows a statement: then the network is gone."""

_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


@dataclass(frozen=True, slots=True)
class Limits:
    """writers, readers: connections of either kind; the rest in seconds: to connect, for one statement, and
    for one statement's wait for a lock."""

    writers: int = 2
    readers: int = 2
    connect_seconds: float = 5.0
    statement_seconds: float = 10.0
    lock_seconds: float = 2.0


class Uncertain(Exception):
    """The connection broke while the commit was under way."""


class Session:
    """One connection, opened when it is first needed and anew after it broke."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None
        self._driver: Any = None
        self._announced = False

    async def write(self, work: Work[T], *, trusting: bool) -> T:
        """Run work in a transaction; raise what it raises, Surprise or Uncertain, after that was undone."""
        try:
            connection = await self._begin("BEGIN")
            result: T = await connection.run_sync(pipelined, work, trusting=trusting)
        except BaseException as error:
            await self._undo(error)
            raise
        try:
            await self._driver.execute("COMMIT")
        except BaseException as error:
            broken = self._driver.is_closed() or not isinstance(error, asyncpg.PostgresError)
            await self._drop()
            if broken:
                raise Uncertain(str(error) or type(error).__name__) from error
            raise
        assert connection.sync_connection is not None
        self._announced = take_announced(connection.sync_connection)
        return result

    async def read(self, work: Work[T]) -> T:
        """Run work on one snapshot."""
        try:
            connection = await self._begin(_READ)
            result = await connection.run_sync(work)
            await self._driver.execute("COMMIT")
        except BaseException as error:
            await self._undo(error)
            raise
        return result

    def take_announced(self) -> bool:
        """Say whether what was committed since the last time this was asked is to be told of."""
        announced, self._announced = self._announced, False
        return announced

    async def close(self) -> None:
        """Take leave of the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _begin(self, how: str) -> AsyncConnection:
        if self._connection is not None:
            try:
                await self._driver.execute(how)
            except Exception:  # noqa: BLE001 - a server that went away meanwhile is called once more
                await self._drop()
            else:
                return self._connection
        connection = await self._engine.connect()
        self._connection = connection
        self._driver = (await connection.get_raw_connection()).driver_connection
        # SQLAlchemy's own transaction stays a no-op: BEGIN and COMMIT are said here.
        await connection.begin()
        await self._driver.execute(how)
        return connection

    async def _undo(self, error: BaseException) -> None:
        if self._connection is None:
            return
        # Who was cancelled may have left a statement behind that still runs.
        if not isinstance(error, Exception | Surprise) or self._driver is None or self._driver.is_closed():
            await self._drop()
            return
        try:
            await self._driver.execute("ROLLBACK")
        except Exception:  # noqa: BLE001 - it is undone by the end of the connection, too
            await self._drop()

    async def _drop(self) -> None:
        """End a connection that can't be trusted; the server undoes what it had begun."""
        connection, self._connection = self._connection, None
        if connection is not None:
            driver, self._driver = self._driver, None
            if driver is not None:
                driver.terminate()
            await connection.invalidate()
            await connection.close()


async def connect(schema: Schema, limits: Limits) -> "asyncpg.Connection[Any]":
    """Open a connection; raise ConnectionError where there is none to be had."""
    server_settings = {
        "search_path": schema.name,
        "application_name": schema.name,
        "statement_timeout": _milliseconds(limits.statement_seconds),
        "lock_timeout": _milliseconds(limits.lock_seconds),
        # Nobody waits for locks of a program that stands still in the middle of a transaction.
        "idle_in_transaction_session_timeout": _milliseconds(3 * limits.statement_seconds),
        # Statements this short are slower for being compiled.
        "jit": "off",
    }
    try:
        return await asyncpg.connect(
            schema.dsn,
            timeout=limits.connect_seconds,
            command_timeout=limits.statement_seconds + MORE_THAN_THE_SERVER_SECONDS,
            server_settings=server_settings,
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        # Whatever it is (nobody listens, a wrong password, no such database): there is no database.
        raise ConnectionError(f"no connection to {schema}: {error or type(error).__name__}") from error


def new_engine(schema: Schema, limits: Limits) -> AsyncEngine:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=partial(connect, schema, limits),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"prepared_statement_cache_size": 500},
    )
    # A statement that goes through SQLAlchemy finds done what was written before it, too.
    event.listen(engine.sync_engine, "before_cursor_execute", lambda connection, *_: send_waiting(connection))
    return engine


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))
