"""Stacks that leave nothing behind: a scratch directory each, and schemas in PostgreSQL named after it."""

import tempfile
from pathlib import Path
from typing import Final

from shared.database.place import Schema
from shared.settings import PORTS, Settings, database_place

_BEGINS: Final = "handfast-"


def scratch_directory() -> Path:
    """Make the directory of a new one."""
    return Path(tempfile.mkdtemp(prefix=_BEGINS))


def ephemeral_settings(settings: Settings, scratch: Path) -> Settings:
    """Return the settings of a stack whose data is in, or named after, a scratch directory."""
    suffix = scratch.name.removeprefix(_BEGINS)
    schema = f"{settings.database_schema[:20]}_{suffix}"
    return settings.model_copy(update={"data_dir": scratch, "database_schema": schema})


def drop_schemas(settings: Settings) -> None:
    """Remove what such a stack has in PostgreSQL, if it is there that it has its data."""
    for program in PORTS:
        place = database_place(settings, program)
        if isinstance(place, Schema):
            from shared.migrations.postgres import drop  # A driver that SQLite spares.

            drop(place)
