"""The store as everybody else sees it, and the few statements that are not spelled alike everywhere."""

import functools
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import SQLModel

from shared.database.failures import is_store_failure
from shared.database.pipeline import Surprise, forget_since, is_trusting, mark
from shared.database.prepared import Prepared, driver_cursor

T = TypeVar("T")
Work = Callable[[Connection], T]

_ANNOUNCED: Final = "announced"


class Database(Protocol):
    """A database that one program owns."""

    async def start(self) -> None: ...

    async def write(self, work: Work[T]) -> T:
        """Run work in one transaction and return its result once that is durable.

        What work raises is raised here after everything it wrote was rolled back. Several writes may share
        one commit; each is undone alone. Raises DatabaseUnavailable where the store can't take it now (or its
        connection broke during the commit: then it isn't known), Transient where others were in the way.
        Work may run in another thread, and more than once before it is committed, so it takes what it needs
        as values, returns values, and changes nothing but by its connection.
        """
        ...

    async def read(self, work: Work[T]) -> T:
        """Run work, which writes nothing, on a consistent snapshot."""
        ...

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Call listener (in the event loop) after every commit that was announced; see announce."""
        ...

    async def close(self) -> None: ...


def table_of(model: type[SQLModel]) -> Table:
    """Return a SQLModel class's table, for Core statements."""
    table: Table = model.__table__  # type: ignore[attr-defined]
    return table


def insert_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert a row unless one with its key is there; return whether it was inserted.

    It takes the write lock before anything is read, so whoever inserts first decides alone.
    """
    return _insert_new(connection.dialect.name, table, tuple(row)).hits(connection, row)


def inserting(dialect: str, table: Table) -> Any:
    """Return an INSERT that can be told what a conflict means, which each dialect has for itself."""
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)


def announce(connection: Connection) -> None:
    """Have the listeners called after the commit of the transaction at hand."""
    connection.info[_ANNOUNCED] = True


def take_announced(connection: Connection) -> bool:
    """For the stores: say whether the transaction that was just committed was announced, and forget it."""
    announced: bool = connection.info.pop(_ANNOUNCED, False)
    return announced


class Savepoint:
    """`with Savepoint(connection):` undoes what was written inside it, and only that, where it raises.

    It speaks to the driver directly: SQLAlchemy's own nested transactions cost more than the statements
    they guard. A transaction that trusts in there being no need does without, and is undone where there is.
    """

    __slots__ = ("_connection", "_cursor", "_marked")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cursor = None if is_trusting(connection) else driver_cursor(connection)
        self._marked: Sequence[int] = ()

    def __enter__(self) -> None:
        if self._cursor is not None:
            self._marked = mark(self._connection)
            self._cursor.execute("SAVEPOINT part")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cursor is None:
            if isinstance(error, Exception) and not is_store_failure(error):
                raise Surprise("a savepoint would have been needed") from error
            return
        if kind is not None:
            self._cursor.execute("ROLLBACK TO SAVEPOINT part")
            forget_since(self._connection, self._marked)
        self._cursor.execute("RELEASE SAVEPOINT part")
        self._cursor.close()


@functools.cache
def _insert_new(dialect: str, table: Table, columns: tuple[str, ...]) -> Prepared:
    key = [column.key for column in table.primary_key if column.key in columns]
    return Prepared(inserting(dialect, table).on_conflict_do_nothing().inline(), columns, sorted_by=key)
