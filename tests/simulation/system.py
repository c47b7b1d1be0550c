"""The whole system in one process: the real programs, with virtual time, a broker in memory, no socket."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pydantic_core
from fastapi import FastAPI
from sqlalchemy import Table
from sqlmodel import SQLModel

import coordinator.app
import coordinator.settings
import coordinator.tables
import order_service.app
import order_service.settings
import order_service.tables
import payment_service.app
import payment_service.settings
import payment_service.tables
import stock_service.app
import stock_service.settings
import stock_service.tables
from shared.database.inline import InlineDatabase
from shared.http.asgi_caller import AsgiCaller
from shared.http.caller import Reply
from shared.identity import ulids
from shared.messaging.memory import MemoryBroker
from shared.settings import PORTS, Settings
from tests.simulation.loop import VirtualClock

PROGRAMS: dict[str, tuple[Callable[..., FastAPI], type[Settings], tuple[Table, ...]]] = {
    "coordinator": (
        coordinator.app.create_app,
        coordinator.settings.CoordinatorSettings,
        coordinator.tables.TABLES,
    ),
    "order": (
        order_service.app.create_app,
        order_service.settings.OrderSettings,
        order_service.tables.TABLES,
    ),
    "stock": (
        stock_service.app.create_app,
        stock_service.settings.StockSettings,
        stock_service.tables.TABLES,
    ),
    "payment": (
        payment_service.app.create_app,
        payment_service.settings.PaymentSettings,
        payment_service.tables.TABLES,
    ),
}


class System:
    """Four programs that can be talked to, switched off and switched on again."""

    def __init__(self, clock: VirtualClock, seed: int) -> None:
        self.clock = clock
        self.broker = MemoryBroker(clock)
        self.caller = AsgiCaller({})
        self.databases: dict[str, InlineDatabase] = {}
        self._randomness = random.Random(seed)
        self._running: dict[str, AsyncExitStack] = {}

    async def start(self, name: str) -> None:
        """Start a program on its database, which is made at its first start."""
        create, settings_class, tables = PROGRAMS[name]
        if name not in self.databases:
            database = self.databases[name] = InlineDatabase()
            await database.start()
            await database.write(
                lambda connection: SQLModel.metadata.create_all(connection, tables=list(tables))
            )
        randomness = random.Random(self._randomness.random())
        app = create(
            settings_class(_env_file=None),
            clock=self.clock,
            new_id=ulids(self.clock, randomness),
            randomness=randomness,
            database=self.databases[name],
            broker=self.broker,
            caller=self.caller,
        )
        stack = AsyncExitStack()
        await stack.enter_async_context(app.router.lifespan_context(app))
        self._running[name] = stack
        self.caller.apps[_origin(name)] = app

    async def stop(self, name: str) -> None:
        """Stop a program; its database stays."""
        del self.caller.apps[_origin(name)]
        await self._running.pop(name).aclose()

    async def close(self) -> None:
        for name in list(self._running):
            await self.stop(name)
        for database in self.databases.values():
            await database.close()

    async def call(self, method: str, program: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Send a request as a customer would."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = None if body is None else pydantic_core.to_json(body)
        url = f"{_origin(program)}/api/v1{path}"
        return await self.caller.call(method, url, headers=named, body=content, timeout=60)

    async def read(self, program: str, path: str) -> Any:
        """Return what a GET answers; it must be 200."""
        reply = await self.call("GET", program, path)
        assert reply.status == 200, reply
        return reply.json()


@asynccontextmanager
async def system(clock: VirtualClock, seed: int = 1) -> AsyncIterator[System]:
    """Run all four programs."""
    one = System(clock, seed)
    try:
        for name in PROGRAMS:
            await one.start(name)
        yield one
    finally:
        await one.close()


def _origin(name: str) -> str:
    return f"http://127.0.0.1:{PORTS[name]}"
