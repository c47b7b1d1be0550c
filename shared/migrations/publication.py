"""The publication of all outboxes in PostgreSQL, out of which a connector captures what programs have to say.

It tells of the rows that are written to be captured, and only that they were written: the relay's rows, and
the removal of any, never leave the database. Each call runs an event loop of its own.
"""

import asyncio
from collections.abc import Sequence

import asyncpg

from shared.database.place import Schema
from shared.errors import HandfastError
from shared.migrations.postgres import connect


class NotPublished(HandfastError):
    """The outboxes could not be published."""


def publish_outboxes(name: str, schemas: Sequence[Schema]) -> None:
    """Have a publication of that name with the outbox of each schema, all in one database, and nothing else.

    Whoever does it owns the tables and may CREATE in the database. Doing it again, or twice at once, is
    harmless.
    Raises DatabaseUnavailable where there is no connection, NotPublished where PostgreSQL refuses.
    """
    asyncio.run(_publish_outboxes(name, schemas))


async def _publish_outboxes(name: str, schemas: Sequence[Schema]) -> None:
    # Only what is captured has its headers in columns.
    tables = ", ".join(f'"{schema.name}".outbox WHERE (ce_id IS NOT NULL)' for schema in schemas)
    connection = await connect(schemas[0])
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"handfast publish {name}")
            if await connection.fetchval("SELECT 1 FROM pg_publication WHERE pubname = $1", name) is None:
                await connection.execute(
                    f"CREATE PUBLICATION \"{name}\" FOR TABLE {tables} WITH (publish = 'insert')"
                )
            else:
                await connection.execute(f'ALTER PUBLICATION "{name}" SET TABLE {tables}')
    except asyncpg.PostgresError as error:
        raise NotPublished(f"The publication {name} can't be made: {error}") from error
    finally:
        await connection.close()
