"""Alembic, driven from code: no alembic.ini, a line of versions a component, all in one transaction."""

from collections.abc import Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, text

from shared.database.sqlite import sqlite_engine
from shared.migrations import SchemaOutdated, sqlite_path


def run(where: Path | str, version_locations: Sequence[Path]) -> frozenset[str]:
    """Apply every version that is missing and return the revisions the database then has."""
    path = sqlite_path(where)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(str(where)) if path is None else sqlite_engine(path)
    try:
        with engine.connect() as connection, connection.begin():
            if path is not None:
                # The engine's connections leave it to their user to begin; taking the write lock first lets
                # two upgrades at once run one after the other.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            command.upgrade(config(connection, version_locations), "heads")
            return frozenset(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())
    except CommandError as error:
        raise SchemaOutdated(
            f"The schema of {where} can't be brought to this release's: {error}. "
            "A database that a newer release wrote needs that release."
        ) from error
    finally:
        engine.dispose()


def config(connection: Connection, version_locations: Sequence[Path]) -> Config:
    """Return Alembic's configuration for a connection (in a transaction) and the lines of versions."""
    made = Config()
    made.set_main_option("script_location", _escaped(Path(__file__).parent))
    made.set_main_option("path_separator", "newline")
    made.set_main_option("version_locations", "\n".join(_escaped(location) for location in version_locations))
    made.attributes["connection"] = connection
    return made


def _escaped(path: Path) -> str:
    """Return a path as the configuration parser takes it, which reads % as the start of a reference."""
    return str(path).replace("%", "%%")
