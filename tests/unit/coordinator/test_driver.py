"""The driver goes on whatever its database does: what it can't look for or write now, it does later."""

import asyncio
import logging
from typing import Any

import pytest

from coordinator.transaction import State
from shared.database.inline import InlineDatabase
from shared.database.port import Work
from shared.errors import DatabaseUnavailable
from shared.http.caller import Reply
from tests.simulation.loop import run_virtually
from tests.unit.coordinator.world import LOST, world


class Outage(InlineDatabase):
    """A store that is away while `away` says so; asked: how often it was, meanwhile."""

    away = False
    asked = 0

    async def write(self, work: Work[Any]) -> Any:
        if self.away:
            self.asked += 1
            raise DatabaseUnavailable("The server is being restarted.")
        return await super().write(work)


def test_a_database_that_is_away_for_long_costs_nothing_but_that_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        database = Outage()
        async with world(database=database) as one:
            one.caller.script("POST", "stock", LOST, Reply(201))
            beginning = asyncio.create_task(one.begin("t", span=600_000))
            await asyncio.sleep(0.5)
            # What is under way meanwhile can't be written down, and what is due not be looked for.
            database.away = True
            await asyncio.gather(beginning, return_exceptions=True)
            await asyncio.sleep(120)
            assert database.asked > 100, "it is looked again and again"
            database.away = False
            await asyncio.sleep(1)
            assert (await one.coordinator.show("t")).state is State.CONFIRMING

    run_virtually(story())
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_who_drives_when_the_database_goes_away_says_so_without_alarm(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        database = Outage()
        async with world(database=database) as one:
            one.caller.script("POST", "stock", Reply(201), delay=1.0)
            dying = asyncio.create_task(one.begin("t", span=600_000))
            await asyncio.sleep(0.5)
            dying.cancel()
            await asyncio.gather(dying, return_exceptions=True)
            # Recovery takes it up after its lease of 5 s; its Try is under way as the database goes.
            await asyncio.sleep(5)
            assert one.caller.count("POST", "stock") == 2
            database.away = True
            await asyncio.sleep(10)
            database.away = False
            await asyncio.sleep(8)
            assert (await one.coordinator.show("t")).state is State.CONFIRMING

    run_virtually(story())
    said = [record for record in caplog.records if "could not be driven on" in record.getMessage()]
    assert [record.levelno for record in said] == [logging.WARNING]
