"""How a transaction on a server gets by with few round trips.

What a transaction only leaves behind (`later`) waits in its `Pipeline` and is sent before the commit, all
rows of one statement in one go. In a trusting transaction, what is expected to change one row (`hits`) waits
as well: it is taken for granted that it will, and no savepoints are set. Whatever waits is sent before the
next statement whose answer is needed, so that nothing is read before what was written earlier is there. What
turns out otherwise is a `Surprise`: everything is undone, and done again by a careful transaction, statement
by statement.

So a trusting transaction that commits has done exactly what a careful one would have done.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, ProgrammingError
from sqlalchemy.util import await_only

_PIPELINE: Final = "pipeline"
_STATEMENTS: Final = "statements"

# Classes of SQLSTATE, as SQLAlchemy's dialect sorts them.
_KINDS: Final[Mapping[str, type[DBAPIError]]] = {
    "22": DataError,
    "23": IntegrityError,
    "42": ProgrammingError,
}


class Surprise(BaseException):
    """Something that was taken for granted is not so; the transaction is to be undone and done carefully.

    It is no Exception, so that nobody on its way takes it for a failure of his own.
    """


class OnServer:
    """A statement as asyncpg runs it: prepared once for each connection.

    ordered: puts named parameters into the order of the statement's placeholders; sorted_by: the places there
    by which the rows that wait are sorted.
    """

    def __init__(
        self,
        statement: Any,
        sql: str,
        ordered: Callable[[Mapping[str, Any]], Sequence[Any]],
        sorted_by: Sequence[int] = (),
    ) -> None:
        self.sql = sql
        self.sorted_by = sorted_by
        self.changes: Table | None = getattr(statement, "table", None)
        self._ordered = ordered
        # Of many executions in one go the driver counts no rows, but it brings those that are returned.
        self.counting = sql if " RETURNING " in sql else f"{sql} RETURNING 1"

    def run(self, connection: Connection, parameters: Mapping[str, Any]) -> int:
        statement, _ = self._fetch(connection, parameters)
        # As in `UPDATE 1`.
        return int(statement.get_statusmsg().rpartition(" ")[2])

    def run_many(self, connection: Connection, parameters: Iterable[Mapping[str, Any]]) -> None:
        send_waiting(connection)
        execute_many(connection, self.sql, list(map(self._ordered, parameters)))

    def hits(self, connection: Connection, parameters: Mapping[str, Any]) -> bool:
        pipeline = _pipeline(connection)
        if pipeline is None or not pipeline.trusting:
            return self.run(connection, parameters) == 1
        pipeline.put(self, [self._ordered(parameters)], expected=True)
        return True

    def later(self, connection: Connection, parameters: Iterable[Mapping[str, Any]]) -> None:
        pipeline = _pipeline(connection)
        if pipeline is None:
            self.run_many(connection, parameters)
        else:
            pipeline.put(self, list(map(self._ordered, parameters)), expected=False)

    def row(self, connection: Connection, parameters: Mapping[str, Any]) -> tuple[Any, ...] | None:
        _, found = self._fetch(connection, parameters)
        return tuple(found[0]) if found else None

    def rows(self, connection: Connection, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        _, found = self._fetch(connection, parameters)
        return [tuple(row) for row in found]

    def _fetch(self, connection: Connection, parameters: Mapping[str, Any]) -> tuple[Any, Sequence[Any]]:
        send_waiting(connection)
        values = self._ordered(parameters)
        return _with(connection, self.sql, lambda statement: statement.fetch(*values))


class Pipeline:
    """The statements of one transaction that wait. trusting: see the module."""

    def __init__(self, *, trusting: bool) -> None:
        self.trusting = trusting
        self._groups: list[_Group] = []

    def put(self, statement: OnServer, rows: Sequence[Sequence[Any]], *, expected: bool) -> None:
        """Have rows of a statement wait. expected: each of them is to change a row."""
        for group in reversed(self._groups):
            if group.statement is statement and group.expected == expected:
                group.rows.extend(rows)
                return
            if group.statement.changes is statement.changes:
                # Changes of one table stay in their order.
                break
        self._groups.append(_Group(statement, expected, list(rows)))

    def send(self, connection: Connection) -> None:
        """Send all that waits; raise Surprise where something didn't hit."""
        groups, self._groups = self._groups, []
        for group in groups:
            group.send(connection)

    def mark(self) -> Sequence[int]:
        """Return how much of each group waits now."""
        return [len(group.rows) for group in self._groups]

    def forget_since(self, mark: Sequence[int]) -> None:
        """Forget what has come to wait since then."""
        del self._groups[len(mark) :]
        for group, count in zip(self._groups, mark, strict=True):
            del group.rows[count:]


class _Group:
    """Rows of one statement that are sent together."""

    def __init__(self, statement: OnServer, expected: bool, rows: list[Sequence[Any]]) -> None:
        self.statement = statement
        self.expected = expected
        self.rows = rows

    def send(self, connection: Connection) -> None:
        if not self.rows:
            return
        if places := self.statement.sorted_by:
            # Rows that name the same one keep their order.
            self.rows.sort(key=lambda row: [row[place] for place in places])
        if not self.expected:
            execute_many(connection, self.statement.sql, self.rows)
        elif execute_many(connection, self.statement.counting, self.rows) != len(self.rows):
            raise Surprise(f"not every row was hit by {self.statement.sql}")


def pipelined(connection: Connection, work: Callable[[Connection], Any], *, trusting: bool) -> Any:
    """Run work as a transaction up to its commit; raise Surprise where that trusted in vain."""
    # A connection that breaks meanwhile can't be asked for it any more.
    info = connection.info
    pipeline = info[_PIPELINE] = Pipeline(trusting=trusting)
    try:
        result = work(connection)
        pipeline.send(connection)
    finally:
        info.pop(_PIPELINE, None)
    return result


def is_trusting(connection: Connection) -> bool:
    """Say whether the transaction at hand does without savepoints."""
    pipeline = _pipeline(connection)
    return pipeline is not None and pipeline.trusting


def send_waiting(connection: Connection) -> None:
    """Send what waits, so that the next statement finds it done.

    A careful transaction sends it at its end only: within a savepoint it would be undone along with that.
    """
    pipeline = _pipeline(connection)
    if pipeline is not None and pipeline.trusting:
        pipeline.send(connection)


def mark(connection: Connection) -> Sequence[int]:
    """Return what waits now, for forget_since."""
    pipeline = _pipeline(connection)
    return [] if pipeline is None else pipeline.mark()


def forget_since(connection: Connection, marked: Sequence[int]) -> None:
    """Forget what came to wait since it was marked."""
    pipeline = _pipeline(connection)
    if pipeline is not None:
        pipeline.forget_since(marked)


def execute_many(connection: Connection, sql: str, rows: Sequence[Sequence[Any]]) -> int:
    """Execute a statement for each row in one go; return how many rows came back."""
    _, found = _with(connection, sql, lambda statement: statement.fetchmany(rows))
    return len(found)


def _pipeline(connection: Connection) -> Pipeline | None:
    pipeline: Pipeline | None = connection.info.get(_PIPELINE)
    return pipeline


def _with(connection: Connection, sql: str, use: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Use a prepared statement of asyncpg's; return it, and what came of it."""
    statements: dict[str, Any] = connection.info.setdefault(_STATEMENTS, {})
    try:
        statement = statements.get(sql)
        if statement is None:
            driver = connection.connection.driver_connection
            assert driver is not None, "the connection was given back"
            statement = statements[sql] = await_only(driver.prepare(sql))
        return statement, await_only(use(statement))
    except Exception as error:
        # It may have become invalid by a change of the schema; preparing it anew costs little.
        statements.pop(sql, None)
        raise _translated(sql, error) from error


def _translated(sql: str, error: Exception) -> Exception:
    """Return an exception of asyncpg's as SQLAlchemy's; of a broken connection, as it is."""
    if isinstance(error, OSError | TimeoutError):
        return error
    state: str | None = getattr(error, "sqlstate", None)
    kind: type[DBAPIError]
    if state is None:
        # The driver itself found that a value doesn't fit its column, or that it can't be asked now.
        kind = DataError if isinstance(error, ValueError) else InterfaceError
    else:
        kind = _KINDS.get(state[:2], DBAPIError)
    return kind(sql, None, error, hide_parameters=True)
