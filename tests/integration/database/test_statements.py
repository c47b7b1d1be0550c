"""Every prepared statement of the programs is one that PostgreSQL understands, types of parameters included.

A statement that no test runs there would otherwise fail at the first customer who needs it.
"""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any, Final

import asyncpg
import pytest
from sqlalchemy.dialects import registry

from shared.database.place import Schema
from shared.database.prepared import Prepared
from shared.migrations import upgrade
from tests.postgres import Server

PACKAGES: Final = {
    "coordinator": ("coordinator",),
    "order": ("order_service",),
    "stock": ("stock_service", "shared"),
    "payment": ("payment_service",),
}
"""Whose statements run in which program's schema; the kit's run in any participant's."""
DIALECT: Final = registry.load("postgresql.asyncpg")()
LEAST: Final = {"coordinator": 4, "order": 6, "stock": 25, "payment": 3}
"""Fewer found would mean that they are kept where this test doesn't look."""


@pytest.mark.parametrize("program", PACKAGES)
async def test_postgres_understands_every_statement(program: str, schemas: Mapping[str, Schema]) -> None:
    found = {name: one for package in PACKAGES[program] for name, one in statements(package)}
    assert len(found) >= LEAST[program]
    misunderstood = {}
    place = schemas[program]
    connection = await asyncpg.connect(place.dsn, server_settings={"search_path": place.name})
    try:
        for name, statement in found.items():
            try:
                await connection.prepare(sql_of(statement))
            except asyncpg.PostgresError as error:
                misunderstood[name] = str(error)
    finally:
        await connection.close()
    assert misunderstood == {}


@pytest.fixture(scope="module")
def schemas(postgres: Server) -> Mapping[str, Schema]:
    made = {program: postgres.no_schema() for program in PACKAGES}
    for program, schema in made.items():
        upgrade(schema, program)
    return made


def sql_of(statement: Prepared) -> str:
    return str(statement._statement.compile(dialect=DIALECT, column_keys=statement._columns))


def statements(package: str) -> Iterator[tuple[str, Prepared]]:
    """Yield what modules of a package hold, by name, in variables or in collections of them."""
    root = importlib.import_module(package)
    for info in pkgutil.walk_packages(root.__path__, f"{package}."):
        if "migrations" not in info.name:
            module = importlib.import_module(info.name)
            for name, value in vars(module).items():
                yield from _held(f"{info.name}:{name}", value)


def _held(name: str, value: Any) -> Iterator[tuple[str, Prepared]]:
    if isinstance(value, Prepared):
        yield name, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _held(f"{name}[{key}]", each)
    elif isinstance(value, tuple | list):
        for number, each in enumerate(value):
            yield from _held(f"{name}[{number}]", each)
