"""The versioned schema on both databases: from nothing, and from the first release with rows in place."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, Table, insert, select
from sqlalchemy.types import BigInteger, Boolean, Integer, LargeBinary

from shared.database.place import Place, Schema
from shared.errors import DatabaseUnavailable
from shared.migrations import SchemaOutdated, heads, is_current, locations, require_current, upgrade
from shared.migrations.alembic_runner import config
from tests.postgres import Server
from tests.stores import within
from tests.unit.repo.test_migrations import PACKAGES, metadata_of

every_program = pytest.mark.parametrize("program", sorted(PACKAGES))
RENAMED = {"replay": "letter_act"}
"""What tables of the first release are called by now."""


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where there is no database yet, in either way."""
    if request.param == "sqlite":
        return tmp_path / "test.db"
    server: Server = request.getfixturevalue("postgres")
    return server.no_schema()


@every_program
def test_rows_of_the_first_release_are_kept(program: str, place: Place) -> None:
    def first_release(connection: Connection) -> dict[str, list[Any]]:
        made = config(connection, locations(program))
        for location in locations(program):
            command.upgrade(made, sorted(location.glob("*_0001.py"))[0].stem)
        metadata = MetaData()
        metadata.reflect(connection)
        for table in metadata.sorted_tables:
            if table.name != "alembic_version":
                connection.execute(insert(table), row_for(table))
        return rows(connection)

    before = within(place, first_release)
    assert all(len(found) == 1 for found in before.values())

    assert upgrade(place, program) == (heads(program) != frozenset(_first(program)))
    require_current(place, program)
    after = within(place, rows)
    for table, found in before.items():
        now = after[RENAMED.get(table, table)]
        assert [{name: row[name] for name in kept} for row, kept in zip(now, found, strict=True)] == found


@every_program
def test_the_schema_in_postgres_is_the_one_in_the_code(program: str, postgres: Server) -> None:
    schema = postgres.no_schema()
    assert upgrade(schema, program)
    assert not upgrade(schema, program)

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata_of(program)))

    assert within(schema, differences) == []


def test_ids_sort_byte_by_byte(postgres: Server) -> None:
    schema = postgres.no_schema()
    upgrade(schema, "stock")
    collations = postgres.execute(
        "SELECT DISTINCT collation_name FROM information_schema.columns "  # noqa: S608 - our own name
        f"WHERE data_type = 'character varying' AND table_schema = '{schema.name}'"
    )
    assert [row[0] for row in collations] == ["C"]


def test_two_upgrades_at_once_make_one_schema(postgres: Server) -> None:
    schema = postgres.no_schema()
    with ThreadPoolExecutor(3) as pool:
        changed = list(pool.map(lambda _: upgrade(schema, "payment"), range(3)))
    assert any(changed)
    assert is_current(schema, "payment")


def test_a_failed_upgrade_leaves_nothing_behind(postgres: Server) -> None:
    schema = postgres.schema()
    # The last of the components that is created finds its table taken.
    postgres.execute(f"CREATE TABLE {schema.name}.product (other integer)")
    with pytest.raises(Exception, match="product"):
        upgrade(schema, "stock")
    left = postgres.execute(
        f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema.name}'"  # noqa: S608 - our own name
    )
    assert [row[0] for row in left] == ["product"]


def test_a_missing_schema_says_what_to_do_and_shows_no_password(postgres: Server) -> None:
    schema = postgres.no_schema()
    with pytest.raises(SchemaOutdated, match="run `handfast db upgrade`") as outdated:
        require_current(schema, "stock")
    assert "secret" not in str(outdated.value)


def test_whoever_only_uses_the_schema_needs_no_right_to_make_one(postgres: Server) -> None:
    schema = postgres.schema()
    user = f"{schema.name}_user"
    for statement in (f"CREATE ROLE {user} LOGIN", f"GRANT USAGE, CREATE ON SCHEMA {schema.name} TO {user}"):
        postgres.execute(statement)
    assert upgrade(Schema(schema.url.replace("handfast:", f"{user}:"), schema.name), "order")


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable, match="no connection"):
        is_current(Schema("postgresql://u:p@127.0.0.1:1/nowhere", "x"), "stock")


def row_for(table: Table) -> dict[str, Any]:
    """Return a row for a table, every column filled, within the rules that tables have."""
    return {column.name: _value(column) for column in table.columns}


def _value(column: Any) -> Any:
    kind = column.type
    if isinstance(kind, Boolean):
        return False
    if isinstance(kind, LargeBinary):
        return b"\x00bytes"
    if isinstance(kind, BigInteger | Integer):
        return 1
    return "x"


def rows(connection: Connection) -> dict[str, list[Any]]:
    """Return every row of every table, by table."""
    metadata = MetaData()
    metadata.reflect(connection)
    return {
        table.name: [dict(row._mapping) for row in connection.execute(select(table))]
        for table in metadata.sorted_tables
        if table.name != "alembic_version"
    }


def _first(program: str) -> list[str]:
    return [sorted(location.glob("*_0001.py"))[0].stem for location in locations(program)]
