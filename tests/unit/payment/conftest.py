"""A payment database in memory."""

from collections.abc import AsyncIterator

import pytest
from sqlmodel import SQLModel

from payment_service.tables import TABLES
from shared.database.inline import InlineDatabase


@pytest.fixture
async def database() -> AsyncIterator[InlineDatabase]:
    database = InlineDatabase()
    await database.start()
    database.write_now(lambda connection: SQLModel.metadata.create_all(connection, TABLES))
    yield database
    await database.close()
