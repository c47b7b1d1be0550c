"""PostgreSQL, over asyncpg: a few connections that write what is queued, a few that read.

A writer takes along what waits and runs it in one transaction, so that one commit serves many, and trusts
that all goes as expected, so that few round trips do (see `shared.database.pipeline`). Where it doesn't, all
is undone and runs again with care, as do the next few transactions. Where any piece raises, or two
transactions got in each other's way, each piece runs again in a transaction of its own; how many are taken
along follows from how often that happens. So a piece of work may run more than once before it is committed,
and does nothing but what its connection does.

Rows are locked until the commit (READ COMMITTED), and other writers may hold them: a deadlock, or a lock that
isn't had in time, is undone and tried again, and after a few times given back as Transient. A read has one
snapshot. A connection that broke is not trusted again; the next piece of work opens another.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from shared.clock import Millis
from shared.database.failures import is_contention, is_store_failure
from shared.database.jobs import MOST_WAITING, Job, Result, answer
from shared.database.pipeline import Surprise
from shared.database.place import Schema
from shared.database.port import Work
from shared.database.postgres_hints import Hints
from shared.database.postgres_session import Limits, Session, Uncertain, connect, new_engine
from shared.errors import DatabaseUnavailable, Transient

T = TypeVar("T")

BATCH: Final = 64
"""The most pieces of work that share one commit."""

ATTEMPTS: Final = 6
"""How often a piece of work is tried that gets in the way of others."""

CAREFUL: Final = 20
"""So many transactions are careful after one that trusted in vain: what surprised is often not alone."""

FIRST_PAUSE_SECONDS: Final = 0.005
"""The pause before the second attempt; it doubles, and each is drawn from between nothing and twice that."""


class PostgresDatabase:
    """A Database in one schema; the event loop that starts it owns it. randomness: for pauses."""

    def __init__(
        self, schema: Schema, *, limits: Limits | None = None, randomness: random.Random | None = None
    ) -> None:
        self._schema = schema
        self._limits = limits = limits or Limits()
        # Jitter is no secret.
        self._randomness = randomness or random.Random()  # noqa: S311
        self._engine = new_engine(schema, limits)
        self._jobs: asyncio.Queue[Job | None] = asyncio.Queue()
        self._listeners: list[Callable[[], None]] = []
        self._writers: list[asyncio.Task[None]] = []
        self._idle = [Session(self._engine) for _ in range(limits.readers)]
        self._a_reader = asyncio.Semaphore(limits.readers)
        self._reading = 0
        self._careful = 0  # transactions that are to be so
        self._started = False
        self._closed = False
        self._hints = Hints(schema.name, partial(connect, schema, limits))

    async def start(self) -> None:
        """Connect; raise DatabaseUnavailable where that fails."""
        self._started = True
        try:
            for session in self._idle:
                await session.read(lambda _: None)
        except Exception as error:
            await self.close()
            if not is_store_failure(error):
                raise
            raise self._unavailable("can't be opened", error) from error
        self._writers = [
            asyncio.create_task(self._write_loop(), name=f"writer-{self._schema.name}-{number}")
            for number in range(self._limits.writers)
        ]

    async def write(self, work: Work[T]) -> T:
        self._open()
        if self._jobs.qsize() >= MOST_WAITING:
            raise DatabaseUnavailable(f"Too many writes wait for {self._schema.name}.")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait((work, done))
        return await done

    async def read(self, work: Work[T]) -> T:
        self._open()
        if self._reading >= MOST_WAITING:
            raise DatabaseUnavailable(f"Too many reads wait for {self._schema.name}.")
        self._reading += 1
        try:
            async with self._a_reader:
                session = self._idle.pop()
                try:
                    return await session.read(work)
                finally:
                    self._idle.append(session)
        except Exception as error:
            if not is_store_failure(error):
                raise
            raise self._unavailable("can't be read now", error) from error
        finally:
            self._reading -= 1

    def on_commit(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    async def time(self) -> Millis:
        return await self.read(_read_time)

    def hint(self, key: str) -> None:
        self._hints.send(key)

    async def hear(self, heard: Callable[[str], None]) -> None:
        await self._hints.run(heard)

    async def close(self) -> None:
        """Finish what is queued, then let the connections go."""
        if self._closed:
            return
        self._closed = True
        for _ in self._writers:
            self._jobs.put_nowait(None)
        if self._writers:
            await asyncio.wait(self._writers)
        async with asyncio.TaskGroup() as closing:
            for session in self._idle:
                closing.create_task(session.close())
        await self._engine.dispose()

    def _open(self) -> None:
        if self._closed:
            raise DatabaseUnavailable("The database is closed; the program is stopping.")
        if not self._started:
            raise DatabaseUnavailable("The database is not open yet.")

    async def _write_loop(self) -> None:
        session, most = Session(self._engine), BATCH
        while (job := await self._jobs.get()) is not None:
            batch = self._take_along(job, most)
            results = await self._together(session, batch)
            if results is None:
                results = [await self._alone(session, *each) for each in batch]
                most = max(1, most // 2)
            else:
                most = min(BATCH, 2 * most)
            self._answer(results, session)
        await session.close()

    def _take_along(self, job: Job, most: int) -> list[Job]:
        """Return a job and whatever else waits, but not what tells a writer to stop."""
        batch = [job]
        while len(batch) < most and not self._jobs.empty():
            another = self._jobs.get_nowait()
            if another is None:
                self._jobs.put_nowait(None)
                break
            batch.append(another)
        return batch

    async def _together(self, session: Session, batch: Sequence[Job]) -> list[Result] | None:
        """Run a batch in one transaction; None, with nothing changed, where each has to run alone."""

        def run_all(connection: Any) -> list[Any]:
            return [work(connection) for work, _ in batch]

        try:
            values = await self._trustingly(session, run_all)
        except Uncertain as error:
            unavailable = self._unavailable("may or may not have written this", error)
            return [(done, None, unavailable) for _, done in batch]
        except Exception:  # noqa: BLE001 - whose error it is shows when each runs alone
            return None
        return [(done, value, None) for (_, done), value in zip(batch, values, strict=True)]

    async def _trustingly(self, session: Session, work: Work[T]) -> T:
        """Run work in a transaction that trusts; where that is in vain, or was just now, in a careful one."""
        if self._careful == 0:
            try:
                return await session.write(work, trusting=True)
            except Surprise:
                self._careful = CAREFUL
        self._careful -= 1
        return await session.write(work, trusting=False)

    async def _alone(self, session: Session, work: Work[Any], done: "asyncio.Future[Any]") -> Result:
        """Run one piece of work in a transaction of its own, again where it got in the way of others."""
        for attempt in range(ATTEMPTS):
            try:
                return done, await session.write(work, trusting=False), None
            except Uncertain as error:
                return done, None, self._unavailable("may or may not have written this", error)
            except Exception as error:  # noqa: BLE001 - the waiting caller must learn what became of its write
                if not is_contention(error):
                    return done, None, self._told(error)
            await asyncio.sleep(self._randomness.uniform(0, 2 * FIRST_PAUSE_SECONDS * 2**attempt))
        return done, None, Transient(f"Others were in the way {ATTEMPTS} times. Try again.", "contended")

    def _told(self, error: Exception) -> BaseException:
        """Return a failure as its caller is told: the statement's own, or the store's."""
        if is_store_failure(error):
            return self._unavailable("can't be written now", error)
        if isinstance(error, StopIteration):
            # A future doesn't carry it.
            return RuntimeError("the work raised StopIteration")
        return error

    def _answer(self, results: Sequence[Result], session: Session) -> None:
        answer(results)
        if session.take_announced():
            for listener in self._listeners:
                listener()

    def _unavailable(self, what: str, error: BaseException) -> DatabaseUnavailable:
        """Tell what the driver said; a statement and its values are nobody's business outside."""
        said = getattr(error, "orig", None) or error
        unavailable = DatabaseUnavailable(f"{self._schema.name} {what}: {said or type(said).__name__}")
        unavailable.__cause__ = error
        return unavailable


def _read_time(connection: Connection) -> Millis:
    # The moment itself: now() is that at which the transaction began.
    told: Millis = connection.exec_driver_sql(
        "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    ).scalar_one()
    return told
