"""The stock and the payment service as they run, with a real database and a broker in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

import payment_service.app
import stock_service.app
from payment_service.settings import PaymentSettings
from shared.clock import Millis, SystemClock, iso
from shared.http.asgi_caller import AsgiCaller
from shared.messaging.memory import MemoryBroker
from shared.migrations import upgrade
from shared.program import Surroundings
from shared.settings import database_place
from stock_service.participant import Strategy
from stock_service.settings import StockSettings
from tests.backing import Backing

PATIENCE = 60.0
"""Seconds within which whatever a test waits for must have happened."""


class ShiftedClock:
    """The machine's clock, which a test may put forward."""

    def __init__(self) -> None:
        self._real = SystemClock()
        self.shift = 0

    def now(self) -> Millis:
        return self._real.now() + self.shift


@dataclass
class Service:
    """A running service. client: calls it; api: the application, for whoever wants its lifespan."""

    api: FastAPI
    client: httpx.AsyncClient
    clock: ShiftedClock

    async def json(self, path: str) -> dict[str, Any]:
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def until(self, look: Callable[[], Awaitable[bool]]) -> None:
        """Wait until look says yes; fail where it doesn't in time."""
        async with asyncio.timeout(PATIENCE):
            while not await look():  # noqa: ASYNC110 - it happens elsewhere, without a signal
                await asyncio.sleep(0.01)

    async def until_state(self, path: str, state: str) -> None:
        """Wait until a reservation is in a state."""

        async def look() -> bool:
            return bool((await self.json(path))["state"] == state)

        await self.until(look)

    def try_headers(self, transaction_id: str, branch_id: str, seconds: int = 60) -> dict[str, str]:
        deadline = iso(self.clock.now() + 1000 * seconds)
        return {
            "tcc-transaction-id": transaction_id,
            "tcc-branch-id": branch_id,
            "tcc-deadline": deadline,
        }


@dataclass
class Machine:
    """What outlives a service: its disk, its broker, its clock, and whom it can call."""

    disk: Path
    broker: MemoryBroker
    clock: ShiftedClock
    caller: AsgiCaller = field(default_factory=lambda: AsgiCaller({}))
    retry: str = "fixed:20ms,3"
    database: Mapping[str, Any] = field(default_factory=dict)

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(clock=self.clock, broker=self.broker, caller=self.caller)

    @contextlib.asynccontextmanager
    async def stock(self, strategy: Strategy = "atomic") -> AsyncIterator[Service]:
        settings = StockSettings(
            data_dir=self.disk,
            sweep_seconds=0.02,
            retry=self.retry,
            stock_strategy=strategy,
            **self.database,
        )
        await asyncio.to_thread(upgrade, database_place(settings, "stock"), "stock")
        api = stock_service.app.create_app(settings, self.surroundings)
        async with self._running(api) as service:
            yield service

    @contextlib.asynccontextmanager
    async def payment(self) -> AsyncIterator[Service]:
        settings = PaymentSettings(data_dir=self.disk, sweep_seconds=0.02, retry=self.retry, **self.database)
        await asyncio.to_thread(upgrade, database_place(settings, "payment"), "payment")
        api = payment_service.app.create_app(settings, self.surroundings)
        async with self._running(api) as service:
            yield service

    @contextlib.asynccontextmanager
    async def _running(self, api: FastAPI) -> AsyncIterator[Service]:
        transport = httpx.ASGITransport(api)
        async with (
            api.router.lifespan_context(api),
            httpx.AsyncClient(transport=transport, base_url="http://service.test") as client,
        ):
            yield Service(api, client, self.clock)


@pytest.fixture
def machine(backing: Backing, tmp_path: Path) -> Machine:
    return machine_on(backing, tmp_path)


def machine_on(backing: Backing, disk: Path) -> Machine:
    """Return a machine with the store that the test is run for."""
    clock = ShiftedClock()
    database = backing.emptied("services", "stock", "payment")
    return Machine(disk, MemoryBroker(clock), clock, database=database)


@pytest.fixture
async def stock(machine: Machine) -> AsyncIterator[Service]:
    async with machine.stock() as service:
        yield service


@pytest.fixture
async def payment(machine: Machine) -> AsyncIterator[Service]:
    async with machine.payment() as service:
        yield service


def slug(answer: httpx.Response) -> str:
    """Return a problem's slug; fail where the answer is no problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return str(answer.json()["type"].removeprefix("urn:handfast:problem:"))
