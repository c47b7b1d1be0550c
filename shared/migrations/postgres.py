"""The versioned schema in PostgreSQL: which versions are there, and one transaction in which to add some.

A program's tables lie in a schema of its own, which is made if it isn't there. An advisory lock lets two
upgrades at once run one after the other. Each function runs an event loop of its own.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

import asyncpg
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from shared.database.place import Schema
from shared.errors import DatabaseUnavailable

T = TypeVar("T")

CONNECT_SECONDS: Final = 10.0


def applied(schema: Schema) -> frozenset[str]:
    """Return the revisions that a schema has, none where it isn't there; raise DatabaseUnavailable."""
    return asyncio.run(_applied(schema))


def in_one_transaction(schema: Schema, work: Callable[[Connection], T]) -> T:
    """Run work in the schema, making it first if need be, while nobody else does; commit unless it raises.

    Raises DatabaseUnavailable where there is no connection.
    """
    return asyncio.run(_in_one_transaction(schema, work))


def drop(schema: Schema) -> None:
    """Remove a schema with everything in it; raise DatabaseUnavailable."""
    asyncio.run(_drop(schema))


async def connect(schema: Schema) -> Any:
    """Return a connection of asyncpg's to a schema; raise DatabaseUnavailable."""
    try:
        return await asyncpg.connect(
            schema.dsn,
            timeout=CONNECT_SECONDS,
            server_settings={"search_path": schema.name, "application_name": f"{schema.name} upgrade"},
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        said = str(error) or type(error).__name__
        raise DatabaseUnavailable(f"There is no connection to {schema}: {said}") from error


async def _drop(schema: Schema) -> None:
    connection = await connect(schema)
    try:
        await connection.execute(f'DROP SCHEMA IF EXISTS "{schema.name}" CASCADE')
    finally:
        await connection.close()


async def _applied(schema: Schema) -> frozenset[str]:
    connection = await connect(schema)
    try:
        # Looked up first: a statement about a table that isn't there would fail.
        if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
            return frozenset()
        return frozenset(row[0] for row in await connection.fetch("SELECT version_num FROM alembic_version"))
    finally:
        await connection.close()


async def _in_one_transaction(schema: Schema, work: Callable[[Connection], T]) -> T:
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=partial(connect, schema), poolclass=NullPool
    )
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(lambda plain: _prepared(plain, schema, work))
    finally:
        await engine.dispose()


def _prepared(connection: Connection, schema: Schema, work: Callable[[Connection], T]) -> T:
    name = {"schema": schema.name}
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('handfast upgrade ' || :schema))"), name)
    # Asked first, because making one takes a right that whoever only uses it need not have.
    if connection.execute(text("SELECT to_regnamespace(:schema)"), name).scalar() is None:
        connection.exec_driver_sql(f'CREATE SCHEMA "{schema.name}"')
    result = work(connection)
    _compare_bytes(connection)
    return result


def _compare_bytes(connection: Connection) -> None:
    """Have all text compared byte by byte, as SQLite does: ids then sort alike everywhere, and faster."""
    columns = connection.execute(_OTHERWISE).all()
    for table, column, kind in columns:
        connection.exec_driver_sql(f'ALTER TABLE "{table}" ALTER COLUMN "{column}" TYPE {kind} COLLATE "C"')


_OTHERWISE: Final = text(
    "SELECT relname, attname, format_type(atttypid, atttypmod) FROM pg_attribute "
    "JOIN pg_class ON pg_class.oid = attrelid JOIN pg_collation ON pg_collation.oid = attcollation "
    "WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND attnum > 0 "
    "AND NOT attisdropped AND collname <> 'C' ORDER BY relname, attnum"
)
