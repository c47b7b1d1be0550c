"""The whole house in one process: four programs with databases of their own, and a broker in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

import coordinator.app
import order_service.app
import payment_service.app
import stock_service.app
from coordinator.settings import CoordinatorSettings
from order_service.settings import OrderSettings
from payment_service.settings import PaymentSettings
from shared.clock import Millis, SystemClock
from shared.http.asgi_caller import AsgiCaller
from shared.messaging.memory import MemoryBroker
from shared.migrations import upgrade
from shared.program import Surroundings
from shared.settings import Settings, database_place
from stock_service.settings import StockSettings
from tests.backing import Backing

PATIENCE = 30.0
"""Seconds within which whatever a test waits for must have happened."""

FAST: dict[str, Any] = {"_env_file": None, "sweep_seconds": 0.02, "retry": "fixed:20ms,3"}


class ShiftedClock:
    """The machine's clock, which a test may put forward."""

    def __init__(self) -> None:
        self._real = SystemClock()
        self.shift = 0

    def now(self) -> Millis:
        return self._real.now() + self.shift

    def pass_seconds(self, seconds: float) -> None:
        self.shift += int(seconds * 1_000)


@dataclass
class House:
    """Four programs, each of which can be away. disk: where their files lie; database: settings of where
    their data lies, if not there; patience: of the order service, in seconds, from its next start."""

    disk: Path
    database: Mapping[str, Any] = field(default_factory=dict)
    patience: float = 10.0
    clock: ShiftedClock = field(default_factory=ShiftedClock)
    apps: dict[str, FastAPI] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.broker = MemoryBroker(self.clock)
        self.caller = AsgiCaller({})
        self._stacks: dict[str, contextlib.AsyncExitStack] = {}
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def start(self, name: str) -> None:
        """Start a program on the database that it left behind."""
        settings = self._settings(name)
        await asyncio.to_thread(upgrade, database_place(settings, name), name)
        app = self._app(name, settings)
        stack = self._stacks[name] = contextlib.AsyncExitStack()
        await stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app)
        client = httpx.AsyncClient(transport=transport, base_url=settings.url(name), timeout=60)
        self._clients[name] = await stack.enter_async_context(client)
        self.caller.apps[settings.url(name)] = app

    async def stop(self, name: str) -> None:
        """Stop a program; its callers find nobody there."""
        del self.caller.apps[self._settings(name).url(name)]
        await self._stacks.pop(name).aclose()

    async def be_patient(self, seconds: float) -> None:
        """Have the order service wait so long for what is not certain."""
        self.patience = seconds
        await self.stop("order")
        await self.start("order")

    async def stop_all(self) -> None:
        for name in reversed(list(self._stacks)):
            await self.stop(name)
        await self.caller.close()

    async def call(
        self, name: str, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        return await self._clients[name].request(method, f"/api/v1{path}", json=body, headers=headers)

    async def read(self, name: str, path: str) -> Any:
        response = await self.call(name, "GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    async def order(self, order_id: str) -> Any:
        return await self.read("order", f"/orders/{order_id}")

    async def place(self, order_id: str, **changes: Any) -> httpx.Response:
        body = {"orderId": order_id, "productId": "2", "qty": 1, "paymentAmt": 5, **changes}
        return await self.call("order", "POST", "/orders", body)

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait until it holds; fail where it doesn't in time."""
        async with asyncio.timeout(PATIENCE):
            while True:
                if await holds():
                    return
                await asyncio.sleep(0.01)

    async def until_status(self, order_id: str, status: str) -> Any:
        async def look() -> bool:
            return bool((await self.order(order_id))["status"] == status)

        await self.until(look)
        return await self.order(order_id)

    async def levels(self) -> tuple[int, int, int]:
        """Return what is held and sold of the product, and held of the money."""
        product = await self.read("stock", "/products/2")
        account = await self.read("payment", "/accounts/guest")
        return product["held"], product["sold"], account["held"]

    def _settings(self, name: str) -> Settings:
        common = {**FAST, "data_dir": self.disk, **self.database}
        if name == "order":
            return OrderSettings(**common, order_patience_seconds=self.patience, order_grace_seconds=5)
        kinds: dict[str, type[Settings]] = {
            "coordinator": CoordinatorSettings,
            "stock": StockSettings,
            "payment": PaymentSettings,
        }
        return kinds[name](**common)

    def _app(self, name: str, settings: Any) -> FastAPI:
        made = {
            "coordinator": coordinator.app.create_app,
            "order": order_service.app.create_app,
            "stock": stock_service.app.create_app,
            "payment": payment_service.app.create_app,
        }
        build: Any = made[name]
        app: FastAPI = build(settings, Surroundings(clock=self.clock, broker=self.broker, caller=self.caller))
        return app


PROGRAMS = ("stock", "payment", "order", "coordinator")


@pytest.fixture
def database(backing: Backing) -> Mapping[str, Any]:
    """Settings of where the house has its data, if not on its disk."""
    return backing.emptied("house", *PROGRAMS)


@pytest.fixture
async def house(tmp_path: Path, database: Mapping[str, Any]) -> AsyncIterator[House]:
    one = House(tmp_path, database)
    try:
        for name in PROGRAMS:
            await one.start(name)
        await one.call("stock", "PUT", "/products/2", {"onHand": 10})
        await one.call("payment", "PUT", "/accounts/guest", {"balance": 100})
        yield one
    finally:
        await one.stop_all()
