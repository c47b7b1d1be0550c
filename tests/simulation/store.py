"""A program's database in the simulation: a real SQLite that survives its program's lives, and that may be
slow, locked, failing, or full in the very moment of the commit. All instances of the program share it: whole
transactions of theirs come in any order, they have its clock, and hint at what they changed to each other."""

import asyncio
import random
import sqlite3
from collections.abc import Callable
from typing import Final, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from shared.clock import Millis
from shared.database.inline import InlineDatabase
from shared.database.port import Work
from shared.errors import DatabaseUnavailable
from tests.simulation.conditions import Conditions, Fault
from tests.simulation.life import Life
from tests.simulation.loop import VirtualClock
from tests.simulation.trace import Trace
from tests.simulation.watch import Watch

T = TypeVar("T")

LOST: Final = 0.1
"""Of the hints that one instance gives another."""


class Server:
    """What the instances of a program share. clock: the store's own, which may be wrong like any other."""

    def __init__(self, store: InlineDatabase, clock: VirtualClock, randomness: random.Random) -> None:
        self.store = store
        self.clock = clock
        self._randomness = randomness
        self._listening: dict[Life, Callable[[str], None]] = {}

    def hint(self, sender: Life, key: str) -> None:
        """Let the others hear of a key: soon, and not always."""
        for life, heard in self._listening.items():
            if life is not sender and self._randomness.random() >= LOST:
                seconds = self._randomness.uniform(0.001, 0.01)
                asyncio.get_running_loop().call_later(seconds, _tell, life, heard, key)

    async def hear(self, life: Life, heard: Callable[[str], None]) -> None:
        """Have a life hear of what others hint at, until cancelled."""
        self._listening[life] = heard
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            del self._listening[life]


class LifesDatabase:
    """The SharedDatabase of one life of a program."""

    def __init__(
        self,
        life: Life,
        server: Server,
        conditions: Conditions,
        randomness: random.Random,
        trace: Trace,
        watch: Watch,
    ) -> None:
        self._life = life
        self._server = server
        self._store = server.store
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

    async def time(self) -> Millis:
        await self._reach()
        return self._server.clock.now()

    def hint(self, key: str) -> None:
        if self._life.alive:
            self._server.hint(self._life, key)

    async def hear(self, heard: Callable[[str], None]) -> None:
        await self._server.hear(self._life, heard)

    async def close(self) -> None:
        """The store outlives the program."""

    async def _reach(self) -> None:
        await self._life.gate()
        await asyncio.sleep(self._randomness.uniform(0.0, 0.001))
        await self._life.gate()
        if self._conditions.strikes(Fault.FAILING, self._life.name):
            raise DatabaseUnavailable("disk I/O error")


def _tell(life: Life, heard: Callable[[str], None], key: str) -> None:
    if life.alive and not life.paused:
        heard(key)


def _without_room(work: Work[T]) -> Work[T]:
    """Do the work and then fail as a disk does that has no room for it."""

    def fail(connection: Connection) -> T:
        work(connection)
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise OperationalError("COMMIT", None, error)

    return fail
