"""A small API with every sort of route, over which the HTTP layer is tested."""

import asyncio
import re
from typing import Any, Literal

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response

from shared.errors import NotFound, Refused, Transient
from shared.health import Health
from shared.http.answers import json_answer, no_content
from shared.http.application import Lifespan, create_api
from shared.http.lean import LeanRoute
from shared.http.model import Body, Maybe, Quantity, Text, View
from shared.http.paging import Cursor, Limit, Page, decode_cursor, encode_cursor, page_of
from shared.http.parameters import PREFER, TCC_TRANSACTION_ID, with_headers
from shared.http.prefer import wait_seconds
from shared.http.problems import declared
from shared.identity import ID_PATTERN, Id
from shared.security.roles import open_to
from shared.settings import Settings
from shared.telemetry import Metrics, current_traceparent

ANYBODY = open_to()


class Line(Body):
    product_id: Id
    qty: Quantity


class NewOrder(Body):
    order_id: Id | None = None
    customer_id: Id = "guest"
    items: list[Line] | None = None
    qty: Quantity | None = None
    mode: Literal["auto", "manual"] = "auto"
    note: Text | None = None
    claim: dict[str, Any] | None = None


class OrderView(View):
    order_id: str
    traceparent: str | None
    waited: float = 0
    reason: Maybe[str] = None


class Shop:
    """The API, and what its tests hold in their hands. gate: while it is closed, orders take their time."""

    def __init__(self, settings: Settings | None = None, lifespan: Lifespan | None = None) -> None:
        self.health = Health()
        self.metrics = Metrics(CollectorRegistry())
        self.orders: dict[str, OrderView] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered: asyncio.Queue[str] = asyncio.Queue()
        self.settings = settings or Settings(_env_file=None)
        self.api: FastAPI = create_api(
            title="Shop",
            description="A shop.",
            routers=[self._lean(), self._plain()],
            settings=self.settings,
            health=self.health,
            metrics=self.metrics,
            lifespan=lifespan,
            sheds=[("POST", "/api/v1/orders")],
        )

    def _lean(self) -> APIRouter:
        router = APIRouter(route_class=LeanRoute, prefix="/api/v1/orders")

        @router.post(
            "",
            status_code=201,
            response_model=OrderView,
            responses=declared(409),
            openapi_extra=ANYBODY | with_headers(PREFER),
        )
        async def place(request: Request, body: NewOrder) -> Response:
            await self.work()
            order_id = body.order_id or "new"
            view = OrderView(
                order_id=order_id, traceparent=current_traceparent(), waited=wait_seconds(request)
            )
            self.orders[order_id] = view
            return json_answer(view, 201, {"Location": f"/api/v1/orders/{order_id}"})

        @router.get("/{order_id}", response_model=OrderView, openapi_extra=ANYBODY)
        async def show(order_id: Id) -> Response:
            if order_id not in self.orders:
                raise NotFound(f"There is no order {order_id}.")
            return json_answer(self.orders[order_id])

        @router.put("/{order_id}", status_code=204, openapi_extra=ANYBODY | with_headers(TCC_TRANSACTION_ID))
        async def confirm(request: Request, order_id: Id) -> Response:  # noqa: ARG001 - the path names it
            transaction = request.headers.get("tcc-transaction-id", "-")
            if re.fullmatch(ID_PATTERN, transaction) is None:
                raise Refused("invalid-request", "TCC-Transaction-Id must be an id.", 422)
            await self.work()
            return no_content()

        @router.delete("/{order_id}", status_code=204, responses=declared(409), openapi_extra=ANYBODY)
        async def cancel(order_id: Id) -> Response:
            if order_id == "confirmed":
                raise Refused("order-confirmed", "Ask for a refund.", balance=7)
            return no_content()

        @router.post("/{order_id}/retries", status_code=202, openapi_extra=ANYBODY)
        async def retry(order_id: Id, body: Line | None = None) -> Response:
            return json_answer({"orderId": order_id, "line": body}, 202)

        return router

    async def work(self) -> None:
        self.entered.put_nowait("entered")
        await self.gate.wait()

    def _plain(self) -> APIRouter:
        router = APIRouter(prefix="/api/v1")

        @router.get("/orders", response_model=Page[OrderView], openapi_extra=ANYBODY)
        async def list_orders(limit: Limit = 50, cursor: Cursor = None) -> Response:
            after = decode_cursor(cursor, str)
            names = sorted(name for name in self.orders if after is None or name > after[0])
            names, more = names[:limit], len(names) > limit
            return json_answer(
                page_of([self.orders[name] for name in names], encode_cursor(names[-1]) if more else None)
            )

        @router.get("/broken", include_in_schema=False)
        async def broken() -> Response:
            raise ZeroDivisionError("a secret")

        @router.get("/away", include_in_schema=False)
        async def away() -> Response:
            raise Transient("The broker is away.", retry_after=7)

        lean = APIRouter(route_class=LeanRoute)

        @lean.get("/broken-lean", include_in_schema=False)
        async def broken_lean() -> Response:
            raise ZeroDivisionError("a secret")

        router.include_router(lean)
        return router
