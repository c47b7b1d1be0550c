"""Two instances of a service on one PostgreSQL and one broker, the clock of one of them ten minutes off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from fastapi import FastAPI

from shared.clock import SystemClock, from_iso
from shared.messaging.memory import MemoryBroker
from shared.migrations import upgrade
from shared.program import Surroundings
from shared.settings import database_place
from stock_service.app import create_app
from stock_service.settings import StockSettings
from tests.postgres import Server

OFF = 600_000


class Wrong:
    """The clock of a machine that is ten minutes ahead."""

    def now(self) -> int:
        return SystemClock().now() + OFF


@pytest.fixture
def settings(postgres: Server) -> StockSettings:
    prefix = "service_instances"
    postgres.emptied(f"{prefix}_stock")
    settings = StockSettings(_env_file=None, database_url=postgres.url, database_schema=prefix)
    upgrade(database_place(settings, "stock"), "stock")
    return settings


@pytest.fixture
async def doors(settings: StockSettings) -> AsyncIterator[list[httpx.AsyncClient]]:
    broker = MemoryBroker(SystemClock())
    async with AsyncExitStack() as stack:
        doors = []
        for clock in (SystemClock(), Wrong()):
            app = create_app(settings, Surroundings(broker=broker, clock=clock))
            await stack.enter_async_context(app.router.lifespan_context(app))
            doors.append(await stack.enter_async_context(_door(app)))
        for door in doors:
            await _until_two_are_there(door)
        await doors[0].put("/api/v1/products/1", json={"onHand": 100})
        yield doors


def _door(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://stock")


async def _until_two_are_there(door: httpx.AsyncClient) -> None:
    async with asyncio.timeout(20):
        while not await _two_are_there(door):  # noqa: ASYNC110 - it is only told to who asks
            await asyncio.sleep(0.02)


async def _two_are_there(door: httpx.AsyncClient) -> bool:
    metrics, ready = await door.get("/metrics"), await door.get("/readyz")
    return "handfast_instances 2.0" in metrics.text and ready.status_code == 200


async def test_whoever_waits_at_one_is_told_what_the_other_does(doors: list[httpx.AsyncClient]) -> None:
    for number in range(10):
        tried, confirmed = doors[number % 2], doors[(number + 1) % 2]
        held = (await tried.post("/api/v1/stocks", json={"productId": "1", "qty": 1})).json()
        answer = await confirmed.put(f"/api/v1/stocks/{held['id']}", headers={"Prefer": "wait=20"})
        assert answer.status_code == 204
    product = (await doors[0].get("/api/v1/products/1")).json()
    assert (product["onHand"], product["held"], product["sold"]) == (90, 0, 10)


async def test_both_go_by_the_clock_of_the_database(doors: list[httpx.AsyncClient]) -> None:
    for door in doors:
        body = {"productId": "1", "qty": 1, "seconds": 600}
        held = (await door.post("/api/v1/stocks", json=body)).json()
        assert abs(from_iso(held["expires"]) - SystemClock().now() - 600_000) < 60_000
