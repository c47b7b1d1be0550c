"""The stock service's own routes: products, and the adjustments of what is on hand.

Reservations (`/api/v1/stocks`) are the kit's: `shared.tcc.routes`.
"""

from typing import Final

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from shared.clock import Clock, iso
from shared.database.port import Database
from shared.http.answers import json_answer
from shared.http.lean import LeanRoute
from shared.http.model import Body, Delta, Quantity, Stock, Text, View
from shared.http.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_from
from shared.http.parameters import IDEMPOTENCY_KEY, header, with_headers
from shared.http.problems import declared
from shared.idempotency import create_once, intent_of
from shared.identity import Id, NewId
from shared.security.roles import CLIENTS, Role, open_to
from stock_service import products
from stock_service.precondition import etag, precondition
from stock_service.products import AdjustmentRow, ProductRow


def product_routes(database: Database, clock: Clock, new_id: NewId) -> APIRouter:
    """Return the routes under /api/v1/products."""
    products_ = _Products(database, clock, new_id)
    one, corrections = "/api/v1/products/{product_id}", "/api/v1/products/{product_id}/adjustments"
    lean = APIRouter(route_class=LeanRoute, tags=["products"])
    lean.add_api_route(
        one,
        products_.put,
        methods=["PUT"],
        response_model=ProductView,
        responses=declared(409, 412) | {201: {"model": ProductView, "description": "Created"}},
        openapi_extra=open_to(Role.OPERATOR, act="change-product") | with_headers(_IF_MATCH, _IF_NONE_MATCH),
    )
    lean.add_api_route(
        one, products_.get, methods=["GET"], response_model=ProductView, openapi_extra=open_to(*CLIENTS)
    )
    lean.add_api_route(
        corrections,
        products_.adjust,
        methods=["POST"],
        status_code=201,
        response_model=AdjustmentView,
        responses=declared(404, 409) | {200: {"model": AdjustmentView, "description": "Recorded before"}},
        openapi_extra=open_to(Role.OPERATOR, act="adjust-stock") | with_headers(IDEMPOTENCY_KEY),
    )
    plain = APIRouter(tags=["products"])
    plain.add_api_route(
        "/api/v1/products",
        products_.list_all,
        methods=["GET"],
        response_model=Page[ProductView],
        openapi_extra=open_to(*CLIENTS),
    )
    plain.add_api_route(
        corrections,
        products_.list_adjustments,
        methods=["GET"],
        response_model=Page[AdjustmentView],
        openapi_extra=open_to(Role.OPERATOR),
    )
    lean.include_router(plain)
    return lean


class ProductChange(Body):
    """What is to change of a product; what is left out stays, or takes its default in a new one."""

    name: Text = Field("", description="A new product is named after its id.")
    on_hand: Stock = Field(0, description="Units on hand, held ones included. A difference is recorded.")
    purchase_limit: Quantity | None = Field(
        None, description="Units that one customer may hold and have bought. null: no limit."
    )
    frozen: bool = Field(False, description="Stocktake: nothing is held and nothing sold meanwhile.")


class ProductView(View):
    """A product and its units. available: on hand and not held."""

    product_id: Id
    name: str
    on_hand: int
    held: int
    available: int
    sold: int
    purchase_limit: int | None
    frozen: bool


class NewAdjustment(Body):
    """A correction of what is on hand: units found (delta above 0) or lost (below 0)."""

    delta: Delta
    reason: Text


class AdjustmentView(View):
    """A recorded correction. onHand: what was on hand after it."""

    adjustment_id: Id
    product_id: Id
    delta: int
    reason: str
    on_hand: int
    created_at: str


class _Products:
    def __init__(self, database: Database, clock: Clock, new_id: NewId) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id

    async def put(self, request: Request, product_id: Id, body: ProductChange | None = None) -> Response:
        """Create a product, or change what is given of it; what is left out stays.

        With If-Match only the version that was read is changed; If-None-Match: * only creates.
        """
        changes = {} if body is None else {name: getattr(body, name) for name in body.model_fields_set}
        allowed = precondition(request.headers)
        adjustment_id, now = self._new_id(), self._clock.now()
        product, created = await self._database.write(
            lambda connection: products.put(
                connection, product_id, changes, allowed=allowed, adjustment_id=adjustment_id, now=now
            )
        )
        return _answer(product, 201 if created else 200)

    async def get(self, product_id: Id) -> Response:
        """Read a product. Its ETag changes with every hold, sale and change."""
        return _answer(await self._database.read(lambda connection: products.read(connection, product_id)))

    async def list_all(self, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Response:
        """List products by id."""
        (after,) = decode_cursor(cursor, str) or ("",)
        rows = await self._database.read(lambda connection: products.page(connection, after, limit + 1))
        return json_answer(page_from(rows, limit, lambda row: row.product_id, _product))

    async def adjust(self, request: Request, product_id: Id, body: NewAdjustment) -> Response:
        """Correct what is on hand, for the record: units were found, lost, delivered or counted anew."""
        adjustment_id, now = self._new_id(), self._clock.now()

        def create(connection: Connection) -> tuple[str, AdjustmentRow]:
            row = products.adjust(
                connection, product_id, body.delta, body.reason, adjustment_id=adjustment_id, now=now
            )
            return row.id, row

        intent = intent_of(request, f"adjustments:{product_id}", body)
        result = await create_once(self._database, self._clock, intent, create, products.read_adjustment)
        return json_answer(_adjustment(result.value), 200 if result.repeated else 201)

    async def list_adjustments(
        self, product_id: Id, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Response:
        """List a product's adjustments, the oldest first; with what was sold they add up to what is there."""
        (after,) = decode_cursor(cursor, str) or ("",)
        rows = await self._database.read(
            lambda connection: products.adjustments(connection, product_id, after, limit + 1)
        )
        return json_answer(page_from(rows, limit, lambda row: row.id, _adjustment))


def _answer(row: ProductRow, status: int = 200) -> Response:
    return json_answer(_product(row), status, {"etag": etag(row.version)})


def _product(row: ProductRow) -> ProductView:
    return ProductView(
        product_id=row.product_id,
        name=row.name,
        on_hand=row.on_hand,
        held=row.held,
        available=row.level.available,
        sold=row.sold,
        purchase_limit=row.purchase_limit,
        frozen=row.frozen,
    )


def _adjustment(row: AdjustmentRow) -> AdjustmentView:
    return AdjustmentView(
        adjustment_id=row.id,
        product_id=row.product_id,
        delta=row.delta,
        reason=row.reason,
        on_hand=row.on_hand,
        created_at=iso(row.created_at),
    )


_IF_MATCH: Final = header("If-Match", "The ETag that was read: 412 where the product has changed since.")
_IF_NONE_MATCH: Final = header("If-None-Match", "`*` only creates: 412 where the product is there already.")
