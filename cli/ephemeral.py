"""Stacks that leave nothing behind: a scratch directory each, and schemas in PostgreSQL named after it.

One that is killed can't clean up; the next one to start does it, where its directory is held by nobody.
"""

import tempfile
import time
from pathlib import Path
from typing import Final

from cli.datadir import DataDirectory
from cli.outcome import Usage
from shared.database.place import Schema
from shared.settings import PORTS, Settings, database_place

SURELY_ABANDONED: Final = 60.0
"""Seconds after which who made a directory and doesn't hold it won't any more."""

_BEGINS: Final = "handfast-ephemeral-"
_ELSEWHERE: Final = "database"
"""The file that says which schemas belong to a directory."""


def new_stack(settings: Settings) -> Settings:
    """Return the settings of a new one, whose directory is there."""
    scratch = Path(tempfile.mkdtemp(prefix=_BEGINS))
    own = ephemeral_settings(settings, scratch)
    if settings.database_url is not None:
        (scratch / _ELSEWHERE).write_text(_schemas(own))
    return own


def ephemeral_settings(settings: Settings, scratch: Path) -> Settings:
    """Return the settings of a stack whose data is in, or named after, a scratch directory."""
    schema = f"{settings.database_schema[:20]}_{scratch.name.removeprefix(_BEGINS)}"
    return settings.model_copy(update={"data_dir": scratch, "database_schema": schema})


def remove_stack(settings: Settings) -> None:
    """Remove the directory of one that has stopped, and its schemas; raise DatabaseUnavailable."""
    for program in PORTS:
        place = database_place(settings, program)
        if isinstance(place, Schema):
            from shared.migrations.postgres import drop  # A driver that SQLite spares.

            drop(place)
    DataDirectory(settings.data_dir).remove()


def remove_leftovers(settings: Settings, among: Path | None = None) -> None:
    """Remove what others left that were killed, as far as these settings reach it; raise DatabaseUnavailable.

    among: where scratch directories lie, unless where the system has them.
    """
    for scratch in (among or Path(tempfile.gettempdir())).glob(f"{_BEGINS}*"):
        directory = DataDirectory(scratch)
        own = ephemeral_settings(settings, scratch)
        if not _is_abandoned(scratch) or not _is_within_reach(own):
            continue
        try:
            directory.acquire()
        except Usage:
            continue  # It runs, or isn't ours.
        remove_stack(own)
        directory.release()


def _is_abandoned(scratch: Path) -> bool:
    try:
        return time.time() - (scratch / "up.lock").stat().st_mtime > SURELY_ABANDONED
    except OSError:
        return False


def _is_within_reach(own: Settings) -> bool:
    elsewhere = own.data_dir / _ELSEWHERE
    if not elsewhere.exists():
        return own.database_url is None
    return own.database_url is not None and elsewhere.read_text() == _schemas(own)


def _schemas(own: Settings) -> str:
    return "\n".join(str(database_place(own, program)) for program in PORTS)
