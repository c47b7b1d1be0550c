"""A program's database in the simulation: a real SQLite that survives its program's lives, and that may be
slow, locked, failing, or full in the very moment of the commit."""

import asyncio
import random
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from shared.database.inline import InlineDatabase
from shared.database.port import Work
from shared.errors import DatabaseUnavailable
from tests.simulation.conditions import Conditions, Fault
from tests.simulation.life import Life
from tests.simulation.trace import Trace
from tests.simulation.watch import Watch

T = TypeVar("T")


class LifesDatabase:
    """The Database of one life of a program."""

    def __init__(
        self,
        life: Life,
        store: InlineDatabase,
        conditions: Conditions,
        randomness: random.Random,
        trace: Trace,
        watch: Watch,
    ) -> None:
        self._life = life
        self._store = store
        self._conditions = conditions
        self._randomness = randomness
        self._trace = trace
        self._watch = watch
        self._listeners: list[Callable[[], None]] = []

    async def start(self) -> None:
        """The store is open already."""

    async def write(self, work: Work[T]) -> T:
        await self._reach()
        if self._conditions.strikes(Fault.LOCKED, self._life.name):
            raise DatabaseUnavailable("database is locked")
        if self._conditions.strikes(Fault.DISK_FULL, self._life.name):
            work = _without_room(work)
        result = self._store.write_now(work)
        announced = self._store.take_announced()
        self._trace.note(f"{self._life.name} commits")
        self._watch.committed(self._life.name)
        # A crash here is one after the commit and before anybody knows of it.
        await asyncio.sleep(self._randomness.uniform(0.0, 0.001))
        await self._life.gate()
        if announced:
            for listener in self._listeners:
                listener()
        return result

    async def read(self, work: Work[T]) -> T:
        await self._reach()
        return await self._store.read(work)

    def on_commit(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    async def close(self) -> None:
        """The store outlives the program."""

    async def _reach(self) -> None:
        await self._life.gate()
        await asyncio.sleep(self._randomness.uniform(0.0, 0.001))
        await self._life.gate()
        if self._conditions.strikes(Fault.FAILING, self._life.name):
            raise DatabaseUnavailable("disk I/O error")


def _without_room(work: Work[T]) -> Work[T]:
    """Do the work and then fail as a disk does that has no room for it."""

    def fail(connection: Connection) -> T:
        work(connection)
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise OperationalError("COMMIT", None, error)

    return fail
