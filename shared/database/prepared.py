"""Statements for the hot path: written in SQLAlchemy Core, compiled once, and run by the driver directly.

Executing a Core statement costs SQLAlchemy about 45 µs even when its compilation is cached; the driver needs
less than 10. A `Prepared` statement keeps Core's spelling for every dialect and leaves the rest out: values
go to the driver as they are and rows come back as plain tuples (a boolean from SQLite as 0 or 1).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

Parameters = Mapping[str, Any]


class Prepared:
    """A Core statement (without expanding IN lists). columns: which ones an INSERT fills, if not all.

    Its methods raise SQLAlchemy's exceptions, as executing it through the connection would.
    """

    def __init__(self, statement: Any, columns: Sequence[str] | None = None) -> None:
        self._statement = statement
        self._columns = columns
        self._compiled: dict[str, tuple[str, Callable[[Parameters], Sequence[Any]]]] = {}

    def run(self, connection: Connection, parameters: Parameters) -> int:
        """Execute it; return the number of rows that it changed."""
        cursor = self._execute(connection, parameters)
        changed: int = cursor.rowcount
        cursor.close()
        return changed

    def run_many(self, connection: Connection, parameters: Iterable[Parameters]) -> None:
        """Execute it once for each."""
        sql, ordered = self._compile(connection)
        rows = [ordered(each) for each in parameters]
        cursor = driver_cursor(connection)
        try:
            cursor.executemany(sql, rows)
        except Exception as error:
            raise _translated(connection, sql, error) from error
        finally:
            cursor.close()

    def row(self, connection: Connection, parameters: Parameters) -> tuple[Any, ...] | None:
        """Execute it; return the first row, or None."""
        cursor = self._execute(connection, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
        cursor.close()
        return row

    def rows(self, connection: Connection, parameters: Parameters) -> list[tuple[Any, ...]]:
        """Execute it; return all rows."""
        cursor = self._execute(connection, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        cursor.close()
        return rows

    def _execute(self, connection: Connection, parameters: Parameters) -> Any:
        sql, ordered = self._compiled.get(connection.dialect.name) or self._compile(connection)
        values = ordered(parameters)
        cursor = driver_cursor(connection)
        try:
            cursor.execute(sql, values)
        except Exception as error:
            cursor.close()
            raise _translated(connection, sql, error) from error
        return cursor

    def _compile(self, connection: Connection) -> tuple[str, Callable[[Parameters], Sequence[Any]]]:
        dialect = connection.dialect
        found = self._compiled.get(dialect.name)
        if found is None:
            compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
            assert compiled.positional, f"{dialect.name}'s driver names its parameters"
            assert not compiled.post_compile_params, "the statement has no fixed text"
            found = self._compiled[dialect.name] = (compiled.string, _ordering(compiled))
        return found


def driver_cursor(connection: Connection) -> Any:
    """Return a cursor of the driver's own connection, past the pool's wrapper around it."""
    driver = connection.connection.dbapi_connection
    assert driver is not None, "the connection was given back"
    return driver.cursor()


def _ordering(compiled: Any) -> Callable[[Parameters], Sequence[Any]]:
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
