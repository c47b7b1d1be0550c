"""A payment database in memory, and the service's own routes over it."""

import random
from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import CollectorRegistry
from sqlmodel import SQLModel

from payment_service.api import account_routes
from payment_service.participant import LEDGER
from payment_service.refunds import Refunds
from payment_service.settings import PaymentSettings
from payment_service.tables import TABLES
from shared.clock import SystemClock
from shared.database.inline import InlineDatabase
from shared.health import Health
from shared.http.application import create_api
from shared.identity import ulids
from shared.telemetry import Metrics


@pytest.fixture
async def database() -> AsyncIterator[InlineDatabase]:
    database = InlineDatabase()
    await database.start()
    database.write_now(lambda connection: SQLModel.metadata.create_all(connection, TABLES))
    yield database
    await database.close()


@pytest.fixture
async def client(database: InlineDatabase) -> AsyncIterator[httpx.AsyncClient]:
    clock = SystemClock()
    api = create_api(
        title="payment",
        description="",
        routers=[
            account_routes(
                database, clock, ulids(clock, random.Random(1)), Refunds(database, clock, LEDGER, 1)
            )
        ],
        settings=PaymentSettings(),
        health=Health(),
        metrics=Metrics(CollectorRegistry()),
    )
    transport = httpx.ASGITransport(app=api)
    async with httpx.AsyncClient(transport=transport, base_url="http://payment") as client:
        yield client
