"""A stock database in memory."""

from collections.abc import AsyncIterator

import pytest
from sqlmodel import SQLModel

from shared.database.inline import InlineDatabase
from stock_service.tables import TABLES


@pytest.fixture
async def database() -> AsyncIterator[InlineDatabase]:
    database = InlineDatabase()
    await database.start()
    database.write_now(lambda connection: SQLModel.metadata.create_all(connection, TABLES))
    yield database
    await database.close()
