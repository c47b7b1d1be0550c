"""The database schema, version by version: `upgrade` brings a program's database to the newest one.

Each component keeps its own line of versions beside its tables (`shared/messaging/migrations`,
`stock_service/migrations`, ...) and a program's database has those of all components it is made of. The files
of a line are named after their revision (`messaging_0001.py` is revision `messaging_0001`), in order, so that
the newest is the last by name: `is_current` needs to read no more than file names and one small table.
Alembic, which is slow to import, comes in only where there is something to do.
"""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from shared.database.place import Place
from shared.errors import DatabaseUnavailable, HandfastError

_MESSAGING: Final = "shared/messaging/migrations"
_TCC: Final = "shared/tcc/migrations"
_IDEMPOTENCY: Final = "shared/migrations/idempotency"
_SECURITY: Final = "shared/security/migrations"
COMPONENTS: Final[dict[str, tuple[str, ...]]] = {
    "coordinator": (_MESSAGING, _SECURITY, "coordinator/migrations"),
    "order": (_MESSAGING, _SECURITY, _TCC, _IDEMPOTENCY, "order_service/migrations"),
    "stock": (_MESSAGING, _SECURITY, _TCC, _IDEMPOTENCY, "stock_service/migrations"),
    "payment": (_MESSAGING, _SECURITY, _TCC, _IDEMPOTENCY, "payment_service/migrations"),
}
"""What each program's database is made of: directories of versions, relative to where the packages are."""

_HOME: Final = Path(__file__).resolve().parents[2]
_log = logging.getLogger(__name__)


class SchemaOutdated(HandfastError):
    """The database's schema is not the one that this release needs."""


def upgrade(where: Place, program: str) -> bool:
    """Bring a program's database to the newest schema, creating it if need be; return whether it changed.

    where: a SQLite file, or a schema in PostgreSQL. All missing versions are applied in one transaction.
    Running it again, or twice at once, is harmless. Raises SchemaOutdated where the database is newer than
    the code.
    """
    if is_current(where, program):
        return False
    from shared.migrations.alembic_runner import run  # Half a second that a restart saves.

    versions = run(where, locations(program))
    _log.info("schema of %s upgraded to %s", program, ", ".join(sorted(versions)))
    return True


def is_current(where: Place, program: str) -> bool:
    """Say whether a program's database has the newest schema. Costs about a millisecond for SQLite.

    Of a schema in PostgreSQL it is asked outside an event loop.

    Raises DatabaseUnavailable where the database can't be read.
    """
    return _applied(where) == heads(program)


def require_current(where: Place, program: str) -> None:
    """Raise SchemaOutdated, which says what to do, unless the database has the newest schema."""
    applied = _applied(where)
    needed = heads(program)
    if applied == needed:
        return
    if not applied:
        found = "has no schema yet"
    elif applied - _known(program):
        raise SchemaOutdated(_newer(where, program, applied - _known(program)))
    else:
        found = f"has the schema {_listed(applied)}, and {_listed(needed)} is needed"
    raise SchemaOutdated(f"The database of {program} ({where}) {found}: run `handfast db upgrade`.")


def heads(program: str) -> frozenset[str]:
    """Return the newest revision of each of a program's components."""
    return frozenset(_versions(location)[-1] for location in locations(program) if _versions(location))


def locations(program: str) -> tuple[Path, ...]:
    """Return the directories that hold the versions of a program's database."""
    return tuple(_HOME / part for part in COMPONENTS[program])


def _versions(location: Path) -> list[str]:
    return sorted(file.stem for file in location.glob("*_[0-9][0-9][0-9][0-9].py"))


def _known(program: str) -> frozenset[str]:
    return frozenset(version for location in locations(program) for version in _versions(location))


def _newer(where: Place, program: str, unknown: frozenset[str]) -> str:
    return (
        f"The database of {program} ({where}) was written by a newer release ({_listed(unknown)} is not "
        "known here): run that release, or restore a backup from before it."
    )


def _listed(versions: frozenset[str]) -> str:
    return ", ".join(sorted(versions))


def _applied(where: Place) -> frozenset[str]:
    """Return the revisions that a database says it has: none where there is no database yet."""
    if isinstance(where, Path):
        return _applied_sqlite(where)
    from shared.migrations.postgres import applied  # A driver that SQLite spares.

    return applied(where)


def _applied_sqlite(path: Path) -> frozenset[str]:
    if not path.exists():
        return frozenset()
    try:
        with closing(sqlite3.connect(path, timeout=5)) as connection:
            there = connection.execute(
                "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
            ).fetchone()
            if there is None:
                return frozenset()
            return frozenset(row[0] for row in connection.execute("SELECT version_num FROM alembic_version"))
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"{path} can't be read: {error}") from error
