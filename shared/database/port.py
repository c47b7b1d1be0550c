"""The store as everybody else sees it, and the few statements that are not spelled alike everywhere."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import SQLModel

T = TypeVar("T")
Work = Callable[[Connection], T]


class Database(Protocol):
    """A database that one program owns."""

    async def start(self) -> None: ...

    async def write(self, work: Work[T]) -> T:
        """Run work in one transaction and return its result once that is durable.

        What work raises is raised here after everything it wrote was rolled back. Several writes may share
        one commit; each is undone alone. Raises DatabaseUnavailable where the store can't take it now.
        """
        ...

    async def read(self, work: Work[T]) -> T:
        """Run work, which writes nothing, on a consistent snapshot."""
        ...

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Call listener (in the event loop) after every commit."""
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
    build = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = _insert_new_statement(build, table)
    return connection.execute(statement, dict(row)).rowcount == 1


def _insert_new_statement(build: Any, table: Table) -> Any:
    # The compiled form is cached by SQLAlchemy under the statement's structure.
    return build(table).on_conflict_do_nothing()
