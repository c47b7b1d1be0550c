"""The order service in memory, over HTTP: an application, its coordinator, and a customer."""

import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
from sqlmodel import SQLModel

from order_service.app import create_app
from order_service.domain import Status
from order_service.orders import Order, find, move
from order_service.settings import OrderSettings
from order_service.tables import TABLES
from shared.database.inline import InlineDatabase
from shared.identity import ulids
from shared.messaging.memory import MemoryBroker
from shared.program import Surroundings
from tests.unit.order.clock import HandClock
from tests.unit.order.coordinator import BASE, FakeCoordinator

ONE: dict[str, Any] = {"orderId": "o-1", "productId": "2", "qty": 1, "paymentAmt": 1}
HELD = {**ONE, "hold": {"seconds": 60}}
PATH = "/api/v1/orders"


class Shop:
    """The order service in memory, and a customer."""

    def __init__(self, **changes: Any) -> None:
        self.clock = HandClock()
        self.database = InlineDatabase()
        self.coordinator = FakeCoordinator(self.clock)
        wanted = {"order_patience_seconds": 0.4, "order_call_seconds": 0.2, **changes}
        settings = OrderSettings(_env_file=None, coordinator_url=BASE, **wanted)
        self.app = create_app(
            settings,
            Surroundings(
                clock=self.clock,
                new_id=ulids(self.clock, random.Random(3)),
                randomness=random.Random(3),
                database=self.database,
                broker=MemoryBroker(self.clock),
                caller=self.coordinator,
            ),
        )
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app), base_url="http://order.test"
        )

    async def post(self, body: Any, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(PATH, json=body, headers=named)

    async def order(self, order_id: str) -> Order:
        found = await self.database.read(lambda connection: find(connection, order_id))
        assert found is not None
        return found

    async def settle(self, order_id: str, status: Status, reason: str | None = None) -> None:
        order = await self.order(order_id)
        moved = await self.database.write(
            lambda connection: move(connection, order.transaction_id, status, self.clock.now(), reason)
        )
        assert moved


@contextlib.asynccontextmanager
async def opened(**changes: Any) -> AsyncIterator[Shop]:
    """Open a shop with these settings."""
    one = Shop(**changes)
    await one.database.start()
    one.database.write_now(lambda connection: SQLModel.metadata.create_all(connection, tables=list(TABLES)))
    async with one.client:
        yield one
    await one.database.close()


def problem(response: httpx.Response) -> tuple[int, str]:
    """Return status and slug of a problem; fail where the answer is none."""
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == response.status_code
    assert document["detail"]
    return response.status_code, document["type"].removeprefix("urn:handfast:problem:")
