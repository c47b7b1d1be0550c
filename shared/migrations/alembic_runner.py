"""Alembic, driven from code: no alembic.ini, a line of versions a component, all in one transaction."""

from collections.abc import Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, text

from shared.database.place import Place
from shared.database.sqlite import sqlite_engine
from shared.migrations import SchemaOutdated


def run(where: Place, version_locations: Sequence[Path]) -> frozenset[str]:
    """Apply every version that is missing and return the revisions the database then has."""
    try:
        if isinstance(where, Path):
            return _run_in_file(where, version_locations)
        from shared.migrations.postgres import in_one_transaction  # A driver that SQLite spares.

        return in_one_transaction(where, lambda connection: _apply(connection, version_locations))
    except CommandError as error:
        raise SchemaOutdated(
            f"The schema of {where} can't be brought to this release's: {error}. "
            "A database that a newer release wrote needs that release."
        ) from error


def _run_in_file(path: Path, version_locations: Sequence[Path]) -> frozenset[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = sqlite_engine(path)
    try:
        with engine.connect() as connection, connection.begin():
            # The engine's connections leave it to their user to begin; taking the write lock first lets
            # two upgrades at once run one after the other.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            return _apply(connection, version_locations)
    finally:
        engine.dispose()


def _apply(connection: Connection, version_locations: Sequence[Path]) -> frozenset[str]:
    command.upgrade(config(connection, version_locations), "heads")
    return frozenset(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())


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
