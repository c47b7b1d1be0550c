"""SQLite: one writer thread that commits what is queued in one go, and aiosqlite for the reads.

SQLite has one writer at a time, so the way to write faster is to share commits: the thread takes everything
that waits, runs each piece of work in a savepoint of its own (one that fails is undone alone), commits once,
and answers them all. `synchronous=FULL` makes each commit survive a power cut.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError, StatementError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shared.database.port import Work
from shared.errors import DatabaseUnavailable

T = TypeVar("T")

BATCH = 256
BUSY_TIMEOUT_MS = 5_000
_Job = tuple[Work[Any], "asyncio.Future[Any]"]
_Result = tuple["asyncio.Future[Any]", Any, BaseException | None]


class SqliteDatabase:
    """A Database in one file; the event loop that starts it owns it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._listeners: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None
        self._writer: Connection | None = None
        self._engine: Engine | None = None
        self._readers: AsyncEngine | None = None
        self._closed = False

    async def start(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._loop = asyncio.get_running_loop()
        self._engine = sqlite_engine(self._path)
        self._readers = create_async_engine(f"sqlite+aiosqlite:///{self._path}")
        event.listen(self._readers.sync_engine, "connect", _configure_reader)
        self._thread = threading.Thread(
            target=self._write_loop, name=f"writer-{self._path.stem}", daemon=True
        )
        self._thread.start()
        await self.write(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())

    async def write(self, work: Work[T]) -> T:
        if self._closed:
            raise DatabaseUnavailable("The database is closed; the program is stopping.")
        done: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((work, done))
        return await done

    async def read(self, work: Work[T]) -> T:
        if self._readers is None:
            raise DatabaseUnavailable("The database is not open.")
        try:
            async with self._readers.connect() as connection:
                return await connection.run_sync(work)
        except (OperationalError, sqlite3.OperationalError) as error:
            raise DatabaseUnavailable(f"{self._path.name} can't be read now: {error}") from error

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
        if self._readers is not None:
            await self._readers.dispose()
        if self._engine is not None:
            self._engine.dispose()

    def _write_loop(self) -> None:
        open_for_work = True
        while open_for_work:
            batch, open_for_work = self._take()
            if batch:
                results = self._commit_batch(batch)
                self._loop.call_soon_threadsafe(self._answer, results)
        if self._writer is not None:
            self._writer.close()

    def _take(self) -> tuple[list[_Job], bool]:
        """Wait for the first job, then take along whatever else waits."""
        job = self._jobs.get()
        batch: list[_Job] = []
        while job is not None:
            batch.append(job)
            if len(batch) == BATCH:
                return batch, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _commit_batch(self, batch: list[_Job]) -> list[_Result]:
        try:
            connection = self._writer_connection()
            cursor = connection.connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                results = [self._run(connection, cursor, work, done) for work, done in batch]
                cursor.execute("COMMIT")
            except BaseException:
                if connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
                    cursor.execute("ROLLBACK")
                raise
            finally:
                cursor.close()
        except Exception as error:  # noqa: BLE001 - every waiting caller must learn what became of its write
            self._discard_writer()
            unavailable = DatabaseUnavailable(f"{self._path.name} can't be written now: {error}")
            unavailable.__cause__ = error
            return [(done, None, unavailable) for _, done in batch]
        return results

    def _run(
        self, connection: Connection, cursor: Any, work: Work[Any], done: "asyncio.Future[Any]"
    ) -> _Result:
        cursor.execute("SAVEPOINT work")
        try:
            result = work(connection)
        except (OperationalError, sqlite3.OperationalError):
            # Disk full, locked, I/O error: nothing in this batch can be trusted to commit.
            raise
        except Exception as error:  # noqa: BLE001 - it belongs to the caller that queued the work
            cursor.execute("ROLLBACK TO work")
            cursor.execute("RELEASE work")
            return done, None, error
        cursor.execute("RELEASE work")
        return done, result, None

    def _answer(self, results: list[_Result]) -> None:
        for done, result, error in results:
            if done.done():  # Its caller was cancelled: the write stands, nobody waits for it.
                continue
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)
        for listener in self._listeners:
            listener()

    def _writer_connection(self) -> Connection:
        if self._writer is None:
            assert self._engine is not None
            self._writer = self._engine.connect()
            # SQLAlchemy begins a transaction of its own at the first statement; this keeps it a no-op,
            # because the thread says BEGIN and COMMIT itself.
            self._writer.begin()
        return self._writer

    def _discard_writer(self) -> None:
        """Reconnect before the next batch: a connection that failed is not trusted again."""
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.invalidate()
                writer.close()
            except (DatabaseError, StatementError, sqlite3.Error):
                self._engine = sqlite_engine(self._path)


def sqlite_engine(path: Path) -> Engine:
    """Return an engine whose connections leave BEGIN and COMMIT to whoever uses them."""
    engine = create_engine(
        f"sqlite+pysqlite:///{path}", connect_args={"check_same_thread": False}, pool_reset_on_return=None
    )
    event.listen(engine, "connect", _configure_writer)
    return engine


def _configure_writer(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _configure_reader(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA query_only=ON")
    cursor.close()
