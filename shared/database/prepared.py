"""Statements for the hot path: written in SQLAlchemy Core, compiled once, and run by the driver directly.

Executing a Core statement costs SQLAlchemy about 45 µs even when its compilation is cached; SQLite's driver
needs less than 10. A `Prepared` statement keeps Core's spelling for every dialect and leaves the rest out:
values go to the driver as they are and rows come back as plain tuples (a boolean from SQLite as 0 or 1).

On a server each statement is a round trip. What is expected to hit (`hits`), and what nobody reads in its
transaction (`later`), may wait there and be sent together; see `shared.database.pipeline`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, Protocol

from sqlalchemy import ARRAY, ColumnElement, Connection, Select, any_, bindparam
from sqlalchemy.exc import DBAPIError

from shared.database.pipeline import OnServer

READS_ONLY: Final = "reads only"
"""Set in a connection's info while it may lock no rows."""

Parameters = Mapping[str, Any]
Ordering = Callable[[Parameters], Sequence[Any]]


class Prepared:
    """A Core statement (without expanding IN lists).

    columns: which ones an INSERT fills, if not all; sorted_by: the parameters that name the row which it
    changes, where others may want the same rows: several that wait are then sent in that order, so that no
    two transactions hold what the other one wants.

    Its methods raise SQLAlchemy's exceptions, as executing it through the connection would.
    """

    def __init__(
        self, statement: Any, columns: Sequence[str] | None = None, *, sorted_by: Sequence[str] = ()
    ) -> None:
        self._statement = statement
        self._columns = columns
        self._sorted_by = sorted_by
        self._forms: dict[str, _Form] = {}

    def run(self, connection: Connection, parameters: Parameters) -> int:
        """Execute it; return the number of rows that it changed."""
        return self._form(connection).run(connection, parameters)

    def run_many(self, connection: Connection, parameters: Iterable[Parameters]) -> None:
        """Execute it once for each."""
        self._form(connection).run_many(connection, parameters)

    def hits(self, connection: Connection, parameters: Parameters) -> bool:
        """Execute it and say whether it changed a row, which it nearly always does, and never more than one.

        A store may take that for granted and say so at once: should it turn out otherwise, everything is
        undone and the work runs again, and is then told the truth. Of what waits meanwhile, the changes of
        one table keep their order; so a condition on another table is about what no `hits` changes.
        """
        return self._form(connection).hits(connection, parameters)

    def later(self, connection: Connection, parameters: Iterable[Parameters]) -> None:
        """Execute it once for each, at the latest before the commit."""
        self._form(connection).later(connection, parameters)

    def row(self, connection: Connection, parameters: Parameters) -> tuple[Any, ...] | None:
        """Execute it; return the first row, or None."""
        return self._form(connection).row(connection, parameters)

    def rows(self, connection: Connection, parameters: Parameters) -> list[tuple[Any, ...]]:
        """Execute it; return all rows."""
        return self._form(connection).rows(connection, parameters)

    def _form(self, connection: Connection) -> "_Form":
        return self._forms.get(connection.dialect.name) or self._compile(connection)

    def _compile(self, connection: Connection) -> "_Form":
        dialect = connection.dialect
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        assert compiled.positional, f"{dialect.name}'s driver names its parameters"
        assert not compiled.post_compile_params, "the statement has no fixed text"
        ordering = _ordering(compiled)
        form: _Form
        if is_server(connection):
            places = [compiled.positiontup.index(name) for name in self._sorted_by]
            form = OnServer(self._statement, compiled.string, ordering, places)
        else:
            locks = getattr(self._statement, "_for_update_arg", None) is not None
            form = (_Locking if locks else OnCursor)(compiled.string, ordering)
        self._forms[dialect.name] = form
        return form


class ByKey:
    """A SELECT or DELETE of the rows that have one of many keys: one statement on a server, and one for each
    key where a statement is a function call."""

    def __init__(self, statement: Any, column: ColumnElement[Any]) -> None:
        self._each = Prepared(statement.where(column == bindparam("key")))
        together = statement.where(column == any_(bindparam("keys", type_=ARRAY(column.type))))
        # Rows are locked in the order of their keys, so that no two transactions wait for each other.
        self._all = Prepared(together.order_by(column) if isinstance(statement, Select) else together)

    def rows(self, connection: Connection, keys: Collection[Any]) -> list[tuple[Any, ...]]:
        """Return the rows that are there."""
        if is_server(connection):
            return self._all.rows(connection, {"keys": list(keys)})
        found = (self._each.row(connection, {"key": key}) for key in keys)
        return [row for row in found if row is not None]

    def run(self, connection: Connection, keys: Collection[Any]) -> None:
        """Delete the rows that are there."""
        if is_server(connection):
            self._all.run(connection, {"keys": list(keys)})
        else:
            self._each.run_many(connection, [{"key": key} for key in keys])


def is_server(connection: Connection) -> bool:
    """Say whether a statement is a round trip."""
    return connection.dialect.name == "postgresql"


class _Form(Protocol):
    """A statement as one kind of driver runs it."""

    def run(self, connection: Connection, parameters: Parameters) -> int: ...
    def run_many(self, connection: Connection, parameters: Iterable[Parameters]) -> None: ...
    def hits(self, connection: Connection, parameters: Parameters) -> bool: ...
    def later(self, connection: Connection, parameters: Iterable[Parameters]) -> None: ...
    def row(self, connection: Connection, parameters: Parameters) -> tuple[Any, ...] | None: ...
    def rows(self, connection: Connection, parameters: Parameters) -> list[tuple[Any, ...]]: ...


class OnCursor:
    """By a cursor of the driver, where a statement is a function call: each at once."""

    def __init__(self, sql: str, ordered: Ordering) -> None:
        self.sql = sql
        self.ordered = ordered

    def run(self, connection: Connection, parameters: Parameters) -> int:
        cursor = self._execute(connection, parameters)
        changed: int = cursor.rowcount
        cursor.close()
        return changed

    def run_many(self, connection: Connection, parameters: Iterable[Parameters]) -> None:
        rows = [self.ordered(each) for each in parameters]
        cursor = driver_cursor(connection)
        try:
            cursor.executemany(self.sql, rows)
        except Exception as error:
            raise _translated(connection, self.sql, error) from error
        finally:
            cursor.close()

    def hits(self, connection: Connection, parameters: Parameters) -> bool:
        return self.run(connection, parameters) == 1

    later = run_many

    def row(self, connection: Connection, parameters: Parameters) -> tuple[Any, ...] | None:
        cursor = self._execute(connection, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
        cursor.close()
        return row

    def rows(self, connection: Connection, parameters: Parameters) -> list[tuple[Any, ...]]:
        cursor = self._execute(connection, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        cursor.close()
        return rows

    def _execute(self, connection: Connection, parameters: Parameters) -> Any:
        values = self.ordered(parameters)
        cursor = driver_cursor(connection)
        try:
            cursor.execute(self.sql, values)
        except Exception as error:
            cursor.close()
            raise _translated(connection, self.sql, error) from error
        return cursor


class _Locking(OnCursor):
    """One that locks rows where the database has such; there no transaction may do so that only reads."""

    def _execute(self, connection: Connection, parameters: Parameters) -> Any:
        assert READS_ONLY not in connection.info, f"a read locks rows: {self.sql}"
        return super()._execute(connection, parameters)


def driver_cursor(connection: Connection) -> Any:
    """Return a cursor of the driver's own connection, past the pool's wrapper around it."""
    driver = connection.connection.dbapi_connection
    assert driver is not None, "the connection was given back"
    return driver.cursor()


def _ordering(compiled: Any) -> Ordering:
    """Return a function that puts named parameters into the order of the statement's placeholders."""
    names: list[str] = compiled.positiontup
    constants = {name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required}
    for column in compiled.insert_prefetch:
        assert column.default.is_scalar, f"{column} has a default that must be computed for each row"
        constants[column.key] = column.default.arg
    if len(names) < 2:
        # Of one name an itemgetter makes no tuple.
        return lambda given: [given[name] if name in given else constants[name] for name in names]
    ordered = itemgetter(*names)
    if any(name in constants for name in names):
        return lambda given: ordered({**constants, **given})
    return ordered


def _translated(connection: Connection, sql: str, error: Exception) -> BaseException:
    """Return a driver's exception as SQLAlchemy's."""
    dialect = connection.dialect
    return DBAPIError.instance(
        sql, None, error, dialect.loaded_dbapi.Error, hide_parameters=True, dialect=dialect
    )
