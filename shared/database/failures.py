"""Whose fault an error is: the statement's, or the store's (which is then unavailable for everybody)."""

import sqlite3
from typing import Any, Final

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_SQLITE_STORE_FAILURES: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)


# Classes of SQLSTATE: no connection, a rollback that the server chose, out of resources, an operator's
# intervention, a failing system; and by themselves: a standby that can't be written, a lock not had in time.
_POSTGRES_STORE_FAILURES: Final = ("08", "40", "53", "57", "58", "25006", "55P03", "XX")
_POSTGRES_CONTENTION: Final = ("40", "55P03")


def is_store_failure(error: BaseException) -> bool:
    """Say whether the store failed (locked, full, unreadable, gone), whatever the statement was.

    A transaction in which it did can't be trusted to commit. A missing table or a violated constraint is no
    such failure: it is the statement's own.
    """
    original: Any = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None:
        # An extended code carries its primary code in the low byte.
        return code & 0xFF in _SQLITE_STORE_FAILURES
    state = _sqlstate(original)
    if state is not None:
        return state.startswith(_POSTGRES_STORE_FAILURES)
    if isinstance(error, DBAPIError) and isinstance(original.__cause__, ValueError):
        # The driver itself found that a value doesn't fit its column.
        return False
    kinds = (OperationalError, InterfaceError, PoolTimeout, sqlite3.OperationalError, OSError, TimeoutError)
    return isinstance(error, kinds)


def is_contention(error: BaseException) -> bool:
    """Say whether another transaction was in the way, so that it may succeed if it is repeated."""
    state = _sqlstate(error.orig if isinstance(error, DBAPIError) else error)
    return state is not None and state.startswith(_POSTGRES_CONTENTION)


def _sqlstate(original: BaseException | None) -> str | None:
    state: str | None = getattr(original, "sqlstate", None)
    return state
