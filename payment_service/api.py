"""The payment service's own routes: accounts, and the refunds of captured payments.

Reservations (`/api/v1/payments`) are the kit's: `shared.tcc.routes`.
"""

from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import ConfigDict, Field, StringConstraints, model_validator
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from payment_service import accounts, cards
from payment_service.accounts import AccountRow, RefundRow
from payment_service.cards import CardRow
from payment_service.domain import RefundState
from payment_service.refunds import Refunds
from shared.clock import Clock, iso
from shared.database.port import Database
from shared.http.answers import json_answer
from shared.http.lean import LeanRoute
from shared.http.model import Body, Maybe, Money, PositiveMoney, Text, View
from shared.http.paging import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    Page,
    decode_cursor,
    page_from,
)
from shared.http.parameters import IDEMPOTENCY_KEY, with_headers
from shared.http.problems import declared
from shared.idempotency import intent_of
from shared.identity import Id, NewId
from shared.security.access import confined_to
from shared.security.roles import Role, open_to


def account_routes(database: Database, clock: Clock, new_id: NewId, refunder: Refunds) -> APIRouter:
    """Return the routes under /api/v1/accounts, and those of refunds under /api/v1/payments."""
    endpoints = _Accounts(database, clock, new_id, refunder)
    one, refunds = "/api/v1/accounts/{customer_id}", "/api/v1/payments/{payment_id}/refunds"
    lean = APIRouter(route_class=LeanRoute)
    lean.add_api_route(
        one,
        endpoints.put,
        methods=["PUT"],
        response_model=AccountView,
        responses=declared(409) | {201: {"model": AccountView, "description": "Opened"}},
        openapi_extra=open_to(Role.OPERATOR, act="change-account"),
        tags=["accounts"],
    )
    lean.add_api_route(
        one,
        endpoints.get,
        methods=["GET"],
        response_model=AccountView,
        openapi_extra=open_to(Role.CUSTOMER, Role.OPERATOR),
        tags=["accounts"],
    )
    lean.add_api_route(
        refunds,
        endpoints.refund,
        methods=["POST"],
        status_code=201,
        response_model=RefundView,
        responses=declared(404, 409)
        | {
            200: {"model": RefundView, "description": "Refunded before"},
            202: {"model": RefundView, "description": "On its way through the gateway, not certain yet"},
        },
        openapi_extra=open_to(Role.OPERATOR, act="refund") | with_headers(IDEMPOTENCY_KEY),
        tags=["payments"],
    )
    plain = APIRouter()
    plain.add_api_route(
        "/api/v1/accounts",
        endpoints.list_all,
        methods=["GET"],
        response_model=Page[AccountView],
        openapi_extra=open_to(Role.OPERATOR),
        tags=["accounts"],
    )
    plain.add_api_route(
        refunds,
        endpoints.list_refunds,
        methods=["GET"],
        response_model=Page[RefundView],
        openapi_extra=open_to(Role.OPERATOR),
        tags=["payments"],
    )
    lean.include_router(plain)
    return lean


GatewayId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,255}$")]


class NewCard(Body):
    """A card as the payment gateway knows it, which alone keeps its number."""

    payment_method: GatewayId = Field(description="The gateway's id of the card, such as pm_...")
    customer: Maybe[GatewayId] = Field(
        None, description="The gateway's id of its owner (cus_...), where the card is attached to one."
    )


class AccountChange(Body):
    """What an account is to hold, or pay with, from now on; what is left out stays. Not both left out.

    A difference of balances is recorded as a deposit or a withdrawal.
    """

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    balance: Money = Field(0, description="Left out: it stays (an account that is opened has none).")
    card: NewCard | None = Field(
        None, description="The card to pay with where cards are set up. null: none any more."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give balance, card or both")
        return self


class AccountView(View):
    """An account, in minor units. available: the balance without what is held.

    Money that a gateway holds for payments by card counts as balance and as held until it is captured.
    """

    customer_id: Id
    balance: int
    held: int
    available: int
    captured: int
    refunded: int
    card: Maybe[NewCard] = Field(None, description="The card with which payments are made, if any.")


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
    state: RefundState = Field(description="PENDING while the gateway has it, FAILED where it declined.")


class _Accounts:
    def __init__(self, database: Database, clock: Clock, new_id: NewId, refunder: Refunds) -> None:
        self._database = database
        self._refunder = refunder
        self._clock = clock
        self._new_id = new_id

    async def put(self, customer_id: Id, body: AccountChange) -> Response:
        """Open an account, set its balance, or say with which card it pays from now on."""
        deposit_id, now = self._new_id(), self._clock.now()
        balance = body.balance if "balance" in body.model_fields_set else None

        def change(connection: Connection) -> tuple[AccountView, bool]:
            account, opened = accounts.put(connection, customer_id, balance, deposit_id=deposit_id, now=now)
            if body.card is not None:
                card = CardRow(customer_id, body.card.payment_method, body.card.customer, now)
                cards.register(connection, card)
            elif "card" in body.model_fields_set:
                cards.forget(connection, customer_id)
            return _views(connection, [account])[0], opened

        view, opened = await self._database.write(change)
        return json_answer(view, 201 if opened else 200)

    async def get(self, request: Request, customer_id: Id) -> Response:
        """Read an account."""
        if confined_to(request) not in (None, customer_id):
            raise accounts.unknown_account(customer_id)
        (view,) = await self._database.read(
            lambda connection: _views(connection, [accounts.read(connection, customer_id)])
        )
        return json_answer(view)

    async def list_all(self, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Response:
        """List accounts by customer."""
        (after,) = decode_cursor(cursor, str) or ("",)
        views = await self._database.read(
            lambda connection: _views(connection, accounts.page(connection, after, limit + 1))
        )
        return json_answer(page_from(views, limit, lambda view: view.customer_id, lambda view: view))

    async def refund(self, request: Request, payment_id: Id, body: NewRefund) -> Response:
        """Give back captured money, all that is left or a part; never more than was captured.

        Money of a payment by card goes back through the gateway: 202 while its answer isn't certain. The same
        Idempotency-Key asks again.
        """
        intent = intent_of(request, f"refunds:{payment_id}", body)
        result = await self._refunder.create(intent, payment_id, body.amount, body.reason, self._new_id())
        if result.value.state == RefundState.PENDING:
            return json_answer(_refund(result.value), 202, {"retry-after": "1"})
        return json_answer(_refund(result.value), 200 if result.repeated else 201)

    async def list_refunds(
        self, payment_id: Id, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Response:
        """List a payment's refunds, the oldest first."""
        (after,) = decode_cursor(cursor, str) or ("",)
        rows = await self._database.read(
            lambda connection: accounts.refunds(connection, payment_id, after, limit + 1)
        )
        return json_answer(page_from(rows, limit, lambda row: row.id, _refund))


def _views(connection: Connection, rows: list[AccountRow]) -> list[AccountView]:
    known = cards.cards_of(connection, [row.customer_id for row in rows])
    return [_account(row, known.get(row.customer_id)) for row in rows]


def _account(row: AccountRow, card: CardRow | None) -> AccountView:
    return AccountView(
        customer_id=row.customer_id,
        balance=row.balance,
        held=row.held,
        available=row.funds.available,
        captured=row.captured,
        refunded=row.refunded,
        card=None if card is None else NewCard(payment_method=card.method, customer=card.holder),
    )


def _refund(row: RefundRow) -> RefundView:
    return RefundView(
        refund_id=row.id,
        payment_id=row.payment_id,
        customer_id=row.customer_id,
        amount=row.amount,
        reason=row.reason,
        created_at=iso(row.created_at),
        state=RefundState(row.state),
    )
