"""Orders over REST: the customers' front door."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from order_service import orders
from order_service.domain import Status
from order_service.front_door import FrontDoor, unknown_order
from order_service.holds import Holds
from order_service.models import NewOrder, OrderView, shown
from order_service.orders import Order
from shared.database.port import Database
from shared.http.answers import json_answer, no_content
from shared.http.lean import LeanRoute
from shared.http.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, encode_cursor, page_of
from shared.http.parameters import IDEMPOTENCY_KEY, PREFER, with_headers
from shared.http.prefer import wait_seconds
from shared.http.problems import declared
from shared.idempotency import intent_of
from shared.identity import Id
from shared.security.access import confined_to, own_customer
from shared.security.roles import Role, open_to

ORDERS_PATH: Final = "/api/v1/orders"
SCOPE: Final = "orders"
"""What an idempotency key of an order is unique within."""
WHO_ORDERS: Final = (Role.CUSTOMER, Role.OPERATOR)
RETRY_AFTER: Final = {"retry-after": "1"}


def _answer(description: str, *headers: str) -> dict[str, Any]:
    told = {name: {"schema": {"type": "string"}} for name in headers}
    return {"model": OrderView, "description": description, **({"headers": told} if told else {})}


def order_routes(*, front_door: FrontDoor, holds: Holds, database: Database, hold_seconds: int) -> APIRouter:
    """Return the routes under /api/v1/orders. hold_seconds: of a hold that doesn't say how long."""
    router = APIRouter(route_class=LeanRoute, tags=["orders"])
    _add_placing(router, front_door, hold_seconds)
    _add_holds(router, front_door, holds)

    @router.get(
        ORDERS_PATH + "/{order_id}",
        response_model=OrderView,
        responses=declared(404),
        openapi_extra=open_to(*WHO_ORDERS),
    )
    async def show(request: Request, order_id: Id) -> Response:
        """Show an order."""
        await _insist_on_own(front_door, request, order_id)
        return json_answer(shown(await front_door.find(order_id)))

    router.include_router(_listing(database))
    return router


def _add_placing(router: APIRouter, front_door: FrontDoor, hold_seconds: int) -> None:
    responses: dict[int | str, dict[str, Any]] = {
        200: _answer("A repeat: the order as it is now", "Location"),
        201: _answer("Taken: CONFIRMING, CONFIRMED or HELD", "Location"),
        202: _answer("PENDING: the outcome is not certain yet", "Location", "Retry-After"),
        **declared(402, 409),
    }

    @router.post(
        ORDERS_PATH,
        status_code=201,
        response_model=OrderView,
        responses=responses,
        openapi_extra=open_to(*WHO_ORDERS, act="place-order") | with_headers(IDEMPOTENCY_KEY, PREFER),
    )
    async def place(request: Request, body: NewOrder) -> Response:
        """Place an order, or hold its goods for a while with `hold`.

        A repeat of an order id with an equal body joins the order: 200 and the order as it is now, its
        refusal again, or 202 while it is undecided. 402 `payment-declined`; 409 `insufficient-stock`,
        `purchase-limit-reached`, `product-frozen`, or `order-cancelled` for any other reason; 422
        `unknown-product`, `order-id-reused`, `idempotency-key-reused`.
        """
        body = _for_customer(request, body)
        placed = await front_door.place(
            body.draft(hold_seconds),
            order_id=body.order_id,
            intent=intent_of(request, SCOPE, body),
            wait=wait_seconds(request),
        )
        order = placed.order
        refusal = placed.refusal
        if refusal is not None:
            raise refusal.error(order.order_id)
        location = {"location": f"{ORDERS_PATH}/{order.order_id}"}
        if order.status is Status.PENDING:
            return _pending(order, location)
        return json_answer(shown(order), 201 if placed.fresh else 200, location)


def _add_holds(router: APIRouter, front_door: FrontDoor, holds: Holds) -> None:
    path = ORDERS_PATH + "/{order_id}"

    @router.put(
        path,
        response_model=OrderView,
        responses={
            202: _answer("The payment's answer is not certain yet; repeat the PUT", "Retry-After"),
            **declared(402, 404, 409, 410),
        },
        openapi_extra=open_to(*WHO_ORDERS, act="pay-order") | with_headers(PREFER),
    )
    async def pay(request: Request, order_id: Id) -> Response:
        """Pay for a held order and confirm it.

        402 `payment-declined`: it is still held and may be tried again; 409 `order-cancelled`,
        `order-not-held`; 410 `reservation-expired`.
        """
        await _insist_on_own(front_door, request, order_id)
        paid = await holds.pay(order_id, wait_seconds(request))
        if not paid.certain:
            return _pending(paid.order)
        return json_answer(shown(paid.order))

    @router.delete(
        path,
        status_code=204,
        responses={
            202: _answer("Cancelled, and not yet released everywhere", "Retry-After"),
            **declared(404, 409),
        },
        openapi_extra=open_to(*WHO_ORDERS, act="cancel-order"),
    )
    async def call_off(request: Request, order_id: Id) -> Response:
        """Cancel a held order: 204 once everything is released.

        409 `order-confirmed`, `order-not-held`; 503 when the coordinator is out of reach: the order is held
        as before.
        """
        await _insist_on_own(front_door, request, order_id)
        order = await holds.call_off(order_id)
        if order.status is Status.CANCELLED:
            return no_content()
        return _pending(order)


def _listing(database: Database) -> APIRouter:
    router = APIRouter()

    @router.get(ORDERS_PATH, response_model=Page[OrderView], openapi_extra=open_to(*WHO_ORDERS))
    async def list_orders(
        request: Request,
        customer_id: Annotated[Id | None, Query(alias="customerId")] = None,
        status: Annotated[Status | None, Query()] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        """List orders, the newest first. A customer sees his own."""
        own = confined_to(request)
        if own is not None and customer_id not in (None, own):
            return json_answer(page_of([], None))
        customer_id = own or customer_id
        place = decode_cursor(cursor, str)
        after = None if place is None else place[0]
        found = await database.read(
            lambda connection: orders.page(
                connection, customer_id=customer_id, status=status, after=after, limit=limit + 1
            )
        )
        page = found[:limit]
        more = encode_cursor(page[-1].transaction_id) if len(found) > limit else None
        return json_answer(page_of([shown(order) for order in page], more))

    return router


async def _insist_on_own(front_door: FrontDoor, request: Request, order_id: str) -> None:
    """Raise NotFound where a customer would touch another's order."""
    own = confined_to(request)
    if own is not None and (await front_door.find(order_id)).customer_id != own:
        raise unknown_order(order_id)


def _for_customer(request: Request, body: NewOrder) -> NewOrder:
    """Return the order as of the customer who places it; raise Refused (403) where it names another."""
    named = "customer_id" in body.model_fields_set
    customer_id = own_customer(request, body.customer_id, explicitly=named)
    return body if customer_id == body.customer_id else body.model_copy(update={"customer_id": customer_id})


def _pending(order: Order, headers: Mapping[str, str] | None = None) -> Response:
    return json_answer(shown(order), 202, {**RETRY_AFTER, **(headers or {})})
