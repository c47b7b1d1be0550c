"""Whose fault an error is: the statement's, or the store's (which is then unavailable for everybody)."""

import sqlite3
from typing import Final

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


def is_store_failure(error: BaseException) -> bool:
    """Say whether the store failed (locked, full, unreadable, gone), whatever the statement was.

    A transaction in which it did can't be trusted to commit. A missing table or a violated constraint is no
    such failure: it is the statement's own.
    """
    original = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None:
        # An extended code carries its primary code in the low byte.
        return code & 0xFF in _SQLITE_STORE_FAILURES
    return isinstance(error, OperationalError | InterfaceError | PoolTimeout | sqlite3.OperationalError)
