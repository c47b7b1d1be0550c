"""The payment service's own routes: accounts, and the refunds of captured payments.

Reservations (`/api/v1/payments`) are the kit's: `shared.tcc.routes`.
"""

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from payment_service import accounts
from payment_service.accounts import AccountRow, RefundRow
from shared.clock import Clock, iso
from shared.database.port import Database
from shared.http.answers import json_answer
from shared.http.lean import LeanRoute
from shared.http.model import Body, Money, PositiveMoney, Text, View
from shared.http.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, encode_cursor, page_of
from shared.http.parameters import IDEMPOTENCY_KEY, with_headers
from shared.http.problems import declared
from shared.idempotency import create_once, intent_of
from shared.identity import Id, NewId


def account_routes(database: Database, clock: Clock, new_id: NewId) -> APIRouter:
    """Return the routes under /api/v1/accounts, and those of refunds under /api/v1/payments."""
    endpoints = _Accounts(database, clock, new_id)
    one, refunds = "/api/v1/accounts/{customer_id}", "/api/v1/payments/{payment_id}/refunds"
    lean = APIRouter(route_class=LeanRoute)
    lean.add_api_route(
        one,
        endpoints.put,
        methods=["PUT"],
        response_model=AccountView,
        responses=declared(409) | {201: {"model": AccountView, "description": "Opened"}},
        tags=["accounts"],
    )
    lean.add_api_route(one, endpoints.get, methods=["GET"], response_model=AccountView, tags=["accounts"])
    lean.add_api_route(
        refunds,
        endpoints.refund,
        methods=["POST"],
        status_code=201,
        response_model=RefundView,
        responses=declared(404, 409) | {200: {"model": RefundView, "description": "Refunded before"}},
        openapi_extra=with_headers(IDEMPOTENCY_KEY),
        tags=["payments"],
    )
    plain = APIRouter()
    plain.add_api_route(
        "/api/v1/accounts",
        endpoints.list_all,
        methods=["GET"],
        response_model=Page[AccountView],
        tags=["accounts"],
    )
    plain.add_api_route(
        refunds,
        endpoints.list_refunds,
        methods=["GET"],
        response_model=Page[RefundView],
        tags=["payments"],
    )
    lean.include_router(plain)
    return lean


class NewBalance(Body):
    """What an account is to hold from now on. A difference is recorded as a deposit or a withdrawal."""

    balance: Money


class AccountView(View):
    """An account, in minor units. available: the balance without what is held."""

    customer_id: Id
    balance: int
    held: int
    available: int
    captured: int
    refunded: int


class NewRefund(Body):
    """Money to give back, in minor units."""

    amount: PositiveMoney | None = Field(None, description="Left out: all that is left of the capture.")
    reason: Text


class RefundView(View):
    """Money given back, in minor units."""

    refund_id: Id
    payment_id: Id
    customer_id: Id
    amount: int
    reason: str
    created_at: str


class _Accounts:
    def __init__(self, database: Database, clock: Clock, new_id: NewId) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id

    async def put(self, customer_id: Id, body: NewBalance) -> Response:
        """Open an account, or set its balance."""
        deposit_id, now = self._new_id(), self._clock.now()
        account, opened = await self._database.write(
            lambda connection: accounts.put(
                connection, customer_id, body.balance, deposit_id=deposit_id, now=now
            )
        )
        return json_answer(_account(account), 201 if opened else 200)

    async def get(self, customer_id: Id) -> Response:
        """Read an account."""
        row = await self._database.read(lambda connection: accounts.read(connection, customer_id))
        return json_answer(_account(row))

    async def list_all(self, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Response:
        """List accounts by customer."""
        (after,) = decode_cursor(cursor, str) or ("",)
        rows = await self._database.read(lambda connection: accounts.page(connection, after, limit + 1))
        next_cursor = encode_cursor(rows[limit - 1].customer_id) if len(rows) > limit else None
        return json_answer(page_of([_account(row) for row in rows[:limit]], next_cursor))

    async def refund(self, request: Request, payment_id: Id, body: NewRefund) -> Response:
        """Give back captured money, all that is left or a part; never more than was captured."""
        refund_id, now = self._new_id(), self._clock.now()

        def create(connection: Connection) -> tuple[str, RefundRow]:
            row = accounts.refund(
                connection, payment_id, body.amount, body.reason, refund_id=refund_id, now=now
            )
            return row.id, row

        intent = intent_of(request, f"refunds:{payment_id}", body)
        result = await create_once(self._database, self._clock, intent, create, accounts.read_refund)
        return json_answer(_refund(result.value), 200 if result.repeated else 201)

    async def list_refunds(
        self, payment_id: Id, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Response:
        """List a payment's refunds, the oldest first."""
        (after,) = decode_cursor(cursor, str) or ("",)
        rows = await self._database.read(
            lambda connection: accounts.refunds(connection, payment_id, after, limit + 1)
        )
        next_cursor = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
        return json_answer(page_of([_refund(row) for row in rows[:limit]], next_cursor))


def _account(row: AccountRow) -> AccountView:
    return AccountView(
        customer_id=row.customer_id,
        balance=row.balance,
        held=row.held,
        available=row.funds.available,
        captured=row.captured,
        refunded=row.refunded,
    )


def _refund(row: RefundRow) -> RefundView:
    return RefundView(
        refund_id=row.id,
        payment_id=row.payment_id,
        customer_id=row.customer_id,
        amount=row.amount,
        reason=row.reason,
        created_at=iso(row.created_at),
    )
