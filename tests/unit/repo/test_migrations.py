"""The versioned schema and the tables in the code are the same, from an empty database and again."""

import importlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, inspect

from shared.database.sqlite import sqlite_engine
from shared.errors import DatabaseUnavailable
from shared.migrations import (
    COMPONENTS,
    SchemaOutdated,
    heads,
    is_current,
    locations,
    require_current,
    upgrade,
)
from shared.migrations.alembic_runner import config

PACKAGES = {
    "coordinator": "coordinator",
    "order": "order_service",
    "stock": "stock_service",
    "payment": "payment_service",
}
every_program = pytest.mark.parametrize("program", sorted(PACKAGES))


def metadata_of(program: str) -> MetaData:
    """Return a program's own tables: SQLModel keeps one collection for all that were ever imported."""
    metadata = MetaData()
    for table in importlib.import_module(f"{PACKAGES[program]}.tables").TABLES:
        table.to_metadata(metadata)
    return metadata


@contextmanager
def opened(path: Path) -> Iterator[Connection]:
    engine = sqlite_engine(path)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@every_program
def test_migrations_give_the_tables_in_the_code(program: str, tmp_path: Path) -> None:
    upgrade(tmp_path / "x.db", program)
    with opened(tmp_path / "x.db") as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata_of(program)) == []


@every_program
def test_migrations_keep_keys_and_checks(program: str, tmp_path: Path) -> None:
    upgrade(tmp_path / "migrated.db", program)
    metadata = metadata_of(program)
    with opened(tmp_path / "migrated.db") as migrated, opened(tmp_path / "created.db") as created:
        metadata.create_all(created)
        for table in metadata.tables:
            assert rules_of(migrated, table) == rules_of(created, table), table


def rules_of(connection: Connection, table: str) -> dict[str, Any]:
    inspector = inspect(connection)
    checks = inspector.get_check_constraints(table)
    return {
        "columns": [
            (column["name"], str(column["type"]), column["nullable"], column["default"])
            for column in inspector.get_columns(table)
        ],
        "key": inspector.get_pk_constraint(table)["constrained_columns"],
        "indexes": sorted(
            (str(index["name"]), index["column_names"], index["unique"])
            for index in inspector.get_indexes(table)
        ),
        "unique": sorted(str(unique["column_names"]) for unique in inspector.get_unique_constraints(table)),
        "checks": sorted((str(check["name"]), " ".join(check["sqltext"].split())) for check in checks),
    }


@every_program
def test_upgrade_is_idempotent(program: str, tmp_path: Path) -> None:
    path = tmp_path / "not" / "there" / "yet.db"
    assert not is_current(path, program)
    assert upgrade(path, program)
    assert is_current(path, program)
    assert not upgrade(path, program)
    require_current(path, program)


def test_asking_creates_no_database(tmp_path: Path) -> None:
    assert not is_current(tmp_path / "none.db", "stock")
    assert list(tmp_path.iterdir()) == []


def test_two_upgrades_at_once_make_one_schema(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from shared.migrations import upgrade; "
        "upgrade(Path(sys.argv[1]), 'payment')"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "payment.db")]
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: subprocess.run(command, capture_output=True, timeout=60), range(2)))
    assert [run.stderr for run in runs if run.returncode] == []
    assert is_current(tmp_path / "payment.db", "payment")


def test_a_failed_version_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "stock.db"
    with closing(sqlite3.connect(path)) as connection:
        # The last of the components that is created finds its table taken.
        connection.execute("CREATE TABLE product (other INTEGER)")
        connection.commit()
    with pytest.raises(Exception, match="product"):
        upgrade(path, "stock")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("product",)]


def test_a_service_says_what_to_do_about_a_missing_schema(tmp_path: Path) -> None:
    with pytest.raises(SchemaOutdated, match=r"no schema yet: run `handfast db upgrade`"):
        require_current(tmp_path / "stock.db", "stock")


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "stock.db"
    upgrade(path, "stock")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE alembic_version SET version_num = 'stock_9999' WHERE version_num LIKE 'stock_%'"
        )
        connection.commit()
    with pytest.raises(SchemaOutdated, match="newer release"):
        require_current(path, "stock")
    with pytest.raises(SchemaOutdated, match="newer release"):
        upgrade(path, "stock")


def test_what_is_no_database_is_said_to_be_unreadable(tmp_path: Path) -> None:
    (tmp_path / "stock.db").write_bytes(b"not a database, by any measure" * 100)
    with pytest.raises(DatabaseUnavailable, match=r"stock\.db"):
        is_current(tmp_path / "stock.db", "stock")


def test_asking_does_not_import_alembic(tmp_path: Path) -> None:
    upgrade(tmp_path / "stock.db", "stock")
    script = (
        "import sys; from pathlib import Path; from shared.migrations import is_current; "
        "assert is_current(Path(sys.argv[1]), 'stock'); "
        "assert not {'alembic', 'sqlalchemy'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "stock.db")]
    assert subprocess.run(command, capture_output=True, timeout=60).stderr == b""


@pytest.mark.parametrize("location", sorted({part for parts in COMPONENTS.values() for part in parts}))
def test_each_component_is_one_line_named_after_its_revisions(location: str) -> None:
    """`heads` relies on it: the newest version of a component is the last of its files by name."""
    directory = next(
        path for program in COMPONENTS for path in locations(program) if str(path).endswith(location)
    )
    with opened(Path(":memory:")) as connection:
        script = ScriptDirectory.from_config(config(connection, [directory]))
        revisions = list(reversed(list(script.walk_revisions())))
    assert [Path(revision.path).stem for revision in revisions] == [
        revision.revision for revision in revisions
    ]
    assert [revision.revision for revision in revisions] == sorted(
        revision.revision for revision in revisions
    )
    assert script.get_heads() == [revisions[-1].revision]


@every_program
def test_the_newest_version_is_the_one_alembic_knows(program: str) -> None:
    with opened(Path(":memory:")) as connection:
        script = ScriptDirectory.from_config(config(connection, locations(program)))
    assert frozenset(script.get_heads()) == heads(program)
