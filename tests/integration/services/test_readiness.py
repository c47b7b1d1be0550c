"""A program says it is not ready while its database can't be written, and leaves open what it was given."""

import asyncio
from pathlib import Path
from typing import TypeVar

from shared.database.inline import InlineDatabase
from shared.database.port import Work
from shared.errors import DatabaseUnavailable
from shared.http.asgi_caller import AsgiCaller
from shared.messaging.memory import MemoryBroker
from shared.program import Program, Surroundings
from stock_service.settings import StockSettings
from tests.integration.services.conftest import PATIENCE, ShiftedClock

T = TypeVar("T")


class FailingDatabase(InlineDatabase):
    """A database that a test can break and mend."""

    broken = False

    async def write(self, work: Work[T]) -> T:
        if self.broken:
            raise DatabaseUnavailable("The disk is full.")
        return await super().write(work)


async def test_readiness_follows_the_database(tmp_path: Path) -> None:
    clock, database = ShiftedClock(), FailingDatabase()
    await database.start()
    program = Program(
        "stock",
        StockSettings(data_dir=tmp_path),
        Surroundings(clock=clock, database=database, broker=MemoryBroker(clock), caller=AsgiCaller({})),
    )
    api = program.api(title="stock", description="", routers=[])
    async with api.router.lifespan_context(api):
        assert program.health.problems() == {}
        database.broken = True
        await until_problems(program, {"database": "The disk is full."})
        database.broken = False
        await until_problems(program, {})
    # It was the test's own, so it is still open.
    assert await database.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar()) == 1
    await database.close()


async def until_problems(program: Program, expected: dict[str, str]) -> None:
    async with asyncio.timeout(PATIENCE):
        while program.health.problems() != expected:  # noqa: ASYNC110 - a check gives no signal
            await asyncio.sleep(0.01)
