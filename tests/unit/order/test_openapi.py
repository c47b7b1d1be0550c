"""The order service is driven from its own description, with a coordinator in every mood."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from sqlmodel import SQLModel

from order_service.app import create_app
from order_service.settings import OrderSettings
from order_service.tables import TABLES
from shared.clock import SystemClock
from shared.database.inline import InlineDatabase
from shared.http.caller import Reply
from shared.messaging.memory import MemoryBroker
from shared.program import Surroundings
from tests.unit.order.coordinator import BASE, FakeCoordinator, declined

PROBLEMS = [declined("insufficient-stock", 409), declined("unknown-product", 422), declined("strange", 418)]


class MoodyCoordinator(FakeCoordinator):
    """Accepts, refuses, hesitates, gets lost and talks nonsense, as the seed has it."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self._mood = random.Random(5)

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float,  # noqa: ASYNC109 - as the port has it
    ) -> Reply:
        throw = self._mood.random
        self.refusals = {}
        if throw() < 0.3:
            self.refusals["stock"] = self._mood.choice(PROBLEMS)
        if throw() < 0.3:
            self.refusals["payment"] = declined("payment-declined", 402)
        self.undecided = int(throw() < 0.2)
        self.lose = int(throw() < 0.2)
        self.away = throw() < 0.1
        self.answer_with = Reply(self._mood.randrange(200, 600)) if throw() < 0.05 else None
        return await super().call(method, url, headers=headers, body=body, timeout=timeout)


def _service() -> FastAPI:
    database = InlineDatabase()
    asyncio.run(database.start())
    database.write_now(lambda connection: SQLModel.metadata.create_all(connection, tables=list(TABLES)))
    own = OrderSettings(
        _env_file=None, coordinator_url=BASE, order_patience_seconds=0.1, order_call_seconds=0.05
    )
    surroundings = Surroundings(
        database=database, broker=MemoryBroker(SystemClock()), caller=MoodyCoordinator()
    )
    return create_app(own, surroundings)


# Its loops don't run here, so what /readyz says is another test's business.
schema = schemathesis.openapi.from_asgi("/openapi.json", _service()).include(path_regex="^/api/")


@schema.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_the_order_service_keeps_its_own_description(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(excluded_checks=[positive_data_acceptance] if _may_be_refused(case) else None)


def _may_be_refused(case: schemathesis.Case[Any]) -> bool:
    """Say whether more than a schema can tell decides about the request.

    Which cursor a list gave, which headers go together, what stock and payment say, what an order id or a key
    stood for before.
    """
    return (
        "cursor" in case.query
        or case.method == "POST"
        or any(name.lower().startswith("tcc-") for name in case.headers)
    )
