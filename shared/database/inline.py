"""A store without threads: every write runs where it is called. For tests and the simulator."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, event

from shared.database.failures import is_store_failure
from shared.database.port import Work, take_announced
from shared.database.prepared import READS_ONLY
from shared.database.sqlite import sqlite_engine
from shared.errors import DatabaseUnavailable

T = TypeVar("T")


class InlineDatabase:
    """A Database over a SQLite file (or `:memory:`), synchronous within the event loop's own thread."""

    def __init__(self, path: Path | str = ":memory:") -> None:
        self._engine = sqlite_engine(Path(path))
        event.listen(self._engine, "before_execute", _refuse_to_lock)
        self._connection: Connection | None = None
        self._listeners: list[Callable[[], None]] = []

    async def start(self) -> None:
        self._connection = self._engine.connect()
        self._connection.begin()

    async def write(self, work: Work[T]) -> T:
        result = self.write_now(work)
        if self.take_announced():
            for listener in self._listeners:
                listener()
        return result

    def write_now(self, work: Work[T]) -> T:
        """Run work in a transaction of its own, at once."""
        connection = self._open()
        driver = connection.connection
        cursor = driver.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            result = work(connection)
            cursor.execute("COMMIT")
        except BaseException as error:
            if driver.driver_connection.in_transaction:  # type: ignore[union-attr]
                cursor.execute("ROLLBACK")
            if is_store_failure(error):
                raise DatabaseUnavailable(str(error)) from error
            raise
        finally:
            cursor.close()
        return result

    def take_announced(self) -> bool:
        """Say whether what was committed last is to be told of, and forget it."""
        return take_announced(self._open())

    async def read(self, work: Work[T]) -> T:
        """As the port says; a read that locks rows fails here as it would on a server."""
        info = self._open().info
        info[READS_ONLY] = True
        try:
            return work(self._open())
        finally:
            del info[READS_ONLY]

    def on_commit(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._engine.dispose()

    def _open(self) -> Connection:
        if self._connection is None:
            raise DatabaseUnavailable("The database is closed.")
        return self._connection


def _refuse_to_lock(connection: Connection, statement: Any, *_: object) -> None:
    locks = getattr(statement, "_for_update_arg", None) is not None
    assert not (locks and READS_ONLY in connection.info), f"a read locks rows: {statement}"
