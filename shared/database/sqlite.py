"""SQLite: one writer thread that commits what is queued in one go, and aiosqlite for the reads.

SQLite has one writer at a time, so the way to write faster is to share commits: the thread takes everything
that waits, runs each piece of work in a savepoint of its own (one that fails is undone alone), commits once,
and answers them all. `synchronous=FULL` makes each commit survive a power cut. A read goes to a connection of
its own, which may not write, and sees one snapshot.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from shared.database.failures import is_store_failure
from shared.database.jobs import MOST_WAITING, Job, Result, answer
from shared.database.port import Work, take_announced
from shared.errors import DatabaseUnavailable

T = TypeVar("T")

_log = logging.getLogger(__name__)

BATCH: Final = 256
"""The most pieces of work that share one commit."""

READERS: Final = 3
BUSY_TIMEOUT_MS: Final = 5_000
CACHE_KIB: Final = 8_192


class SqliteDatabase:
    """A Database in one file; the event loop that starts it owns it.

    busy_timeout_ms: how long a write waits for another process that writes to the file.
    """

    def __init__(self, path: Path, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> None:
        self._path = path
        self._engine = sqlite_engine(path, busy_timeout_ms)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._listeners: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._writer: Connection | None = None
        self._readers = _reading_engine(path, busy_timeout_ms)
        self._reading = 0
        self._closed = False

    async def start(self) -> None:
        """Open the file, which is made if it isn't there; raise DatabaseUnavailable where that fails."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._write_loop, args=(self._loop,), name=f"writer-{self._path.stem}", daemon=True
        )
        self._thread.start()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            await self.write(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
        except OSError as error:
            await self.close()
            raise DatabaseUnavailable(f"{self._path} can't be made: {error.strerror}") from error
        except DatabaseUnavailable:
            await self.close()
            raise

    async def write(self, work: Work[T]) -> T:
        loop = self._open()
        if self._jobs.qsize() >= MOST_WAITING:
            raise DatabaseUnavailable(f"Too many writes wait for {self._path.name}.")
        done: asyncio.Future[T] = loop.create_future()
        self._jobs.put((work, done))
        return await done

    async def read(self, work: Work[T]) -> T:
        self._open()
        if self._reading >= MOST_WAITING:
            raise DatabaseUnavailable(f"Too many reads wait for {self._path.name}.")
        self._reading += 1
        try:
            async with self._readers.connect() as connection:
                return await connection.run_sync(work)
        except Exception as error:
            if not is_store_failure(error):
                raise
            raise _unavailable(f"{self._path.name} can't be read now", error) from error
        finally:
            self._reading -= 1

    def on_commit(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    async def close(self) -> None:
        """Finish what is queued, then give the file back."""
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
        await self._readers.dispose()
        self._engine.dispose()

    def _open(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise DatabaseUnavailable("The database is closed; the program is stopping.")
        if self._loop is None:
            raise DatabaseUnavailable("The database is not open yet.")
        return self._loop

    def _write_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        more = True
        while more:
            batch, more = self._take()
            if not batch:
                break
            results, announced = self._commit_batch(batch)
            try:
                loop.call_soon_threadsafe(self._answer, results, announced)
            except RuntimeError:
                # The loop is closed, and with it everybody who waited. What is committed stands.
                _log.warning("%d writes to %s have nobody left to answer.", len(results), self._path.name)
        if self._writer is not None:
            _give_up(self._writer)

    def _take(self) -> tuple[list[Job], bool]:
        """Wait for the first job, then take along whatever else waits; also return whether more may come."""
        job = self._jobs.get()
        batch: list[Job] = []
        while job is not None:
            batch.append(job)
            if len(batch) == BATCH:
                return batch, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _commit_batch(self, batch: list[Job]) -> tuple[list[Result], bool]:
        """Run a batch and commit it; return what became of each, and whether the commit was announced."""
        try:
            if self._writer is None:
                self._writer = _connect(self._engine)
            connection = self._writer
            cursor = connection.connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            alone = len(batch) == 1
            results = [_run(connection, cursor, work, done, alone=alone) for work, done in batch]
            cursor.execute("COMMIT")
            cursor.close()
        except Exception as error:  # noqa: BLE001 - every waiting caller must learn what became of its write
            # Closing the connection rolls back; one that failed is not trusted again.
            writer, self._writer = self._writer, None
            if writer is not None:
                _give_up(writer)
            unavailable = _unavailable(f"{self._path.name} can't be written now", error)
            unavailable.__cause__ = error
            return [(done, None, unavailable) for _, done in batch], False
        return results, take_announced(connection)

    def _answer(self, results: list[Result], announced: bool) -> None:
        answer(results)
        if announced:
            for listener in self._listeners:
                listener()


def sqlite_engine(path: Path, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> Engine:
    """Return an engine whose connections leave BEGIN and COMMIT to whoever uses them."""
    engine = create_engine(
        f"sqlite+pysqlite:///{path}", connect_args={"check_same_thread": False}, poolclass=NullPool
    )

    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout={busy_timeout_ms}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "temp_store=MEMORY",
            f"cache_size=-{CACHE_KIB}",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    event.listen(engine, "connect", configure)
    return engine


def _reading_engine(path: Path, busy_timeout_ms: int) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}", pool_size=READERS, max_overflow=0, pool_timeout=busy_timeout_ms / 1000
    )

    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (f"busy_timeout={busy_timeout_ms}", "query_only=ON", f"cache_size=-{CACHE_KIB}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    # The driver would begin a transaction only before it writes; a snapshot needs one from the first read on.
    event.listen(engine.sync_engine, "connect", configure)
    event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _connect(engine: Engine) -> Connection:
    connection = engine.connect()
    # SQLAlchemy begins a transaction of its own at the first statement; this keeps it a no-op, because the
    # thread says BEGIN and COMMIT itself.
    connection.begin()
    return connection


def _unavailable(what: str, error: Exception) -> DatabaseUnavailable:
    """Tell what the driver said; a statement and its values are nobody's business outside."""
    return DatabaseUnavailable(f"{what}: {error.orig if isinstance(error, DBAPIError) else error}")


def _run(
    connection: Connection, cursor: Any, work: Work[Any], done: "asyncio.Future[Any]", *, alone: bool
) -> Result:
    """Run one piece of a batch; where it fails, undo it and nothing else. alone: it is all of the batch."""
    if not alone:
        cursor.execute("SAVEPOINT work")
    try:
        result = work(connection)
    except BaseException as error:
        if is_store_failure(error):
            # Nothing in this batch can be trusted to commit.
            raise
        # Alone it needs no savepoint, which costs more than its two statements: pages are copied for it.
        for statement in ("ROLLBACK", "BEGIN") if alone else ("ROLLBACK TO work", "RELEASE work"):
            cursor.execute(statement)
        if isinstance(error, StopIteration):
            # A future doesn't carry it.
            return done, None, RuntimeError("the work raised StopIteration")
        return done, None, error
    if not alone:
        cursor.execute("RELEASE work")
    return done, result, None


def _give_up(connection: Connection) -> None:
    """Close a connection for good, whatever state it is in."""
    try:
        connection.invalidate()
        connection.close()
    except SQLAlchemyError as error:
        _log.warning("A database connection could not be closed: %s", error)
