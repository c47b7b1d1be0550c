"""The routes of drops: their terms, the claims, and what is issued again."""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from shared.bell import Bell
from shared.clock import Clock, from_iso, iso
from shared.database.port import Database
from shared.http.answers import json_answer
from shared.http.lean import LeanRoute
from shared.http.model import Body, Instant, Maybe, Text, View
from shared.http.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_from, page_of
from shared.http.parameters import IDEMPOTENCY_KEY, PREFER, with_headers
from shared.http.prefer import wait_seconds
from shared.http.problems import declared
from shared.idempotency import intent_of
from shared.identity import Id, NewId
from shared.security.access import confined_to, own_customer
from shared.security.roles import CLIENTS, Role, open_to
from shared.telemetry import current_traceparent
from stock_service.drops import claims, offers
from stock_service.drops.claims import Claim
from stock_service.drops.desk import Desk
from stock_service.drops.domain import MOST_PER_CUSTOMER, ClaimState
from stock_service.drops.entry import Want
from stock_service.drops.gate import Gate
from stock_service.drops.offers import Offer
from stock_service.drops.reissue import MOST_AT_ONCE, Reissue, Reissued

PATH: Final = "/api/v1/drops"
_CLAIM: Final = (Role.CUSTOMER, Role.OPERATOR)


def drop_routes(
    *, database: Database, clock: Clock, new_id: NewId, gate: Gate, desk: Desk, bell: Bell
) -> APIRouter:
    """Return the routes under /api/v1/drops."""
    drops = _Drops(database, clock, gate)
    taken = _Claims(database, new_id, desk, bell)
    one, its_claims = PATH + "/{code}", PATH + "/{code}/claims"
    lean = APIRouter(route_class=LeanRoute, tags=["drops"])
    lean.add_api_route(
        one,
        drops.put,
        methods=["PUT"],
        response_model=DropView,
        responses=declared(409) | {201: {"model": DropView, "description": "Created"}},
        openapi_extra=open_to(Role.OPERATOR, act="change-drop"),
    )
    lean.add_api_route(
        one, drops.get, methods=["GET"], response_model=DropView, openapi_extra=open_to(*CLIENTS)
    )
    lean.add_api_route(
        its_claims,
        taken.claim,
        methods=["POST"],
        status_code=202,
        response_model=ClaimView,
        responses=declared(403, 404, 409)
        | {200: {"model": ClaimView, "description": "Issued (or returned) already"}},
        openapi_extra=open_to(*_CLAIM, act="claim") | with_headers(IDEMPOTENCY_KEY, PREFER),
    )
    lean.add_api_route(
        its_claims + "/{customer_id}",
        taken.get,
        methods=["GET"],
        response_model=ClaimView,
        openapi_extra=open_to(*_CLAIM),
    )
    lean.add_api_route(
        one + "/reissues",
        taken.reissue,
        methods=["POST"],
        response_model=ReissuedView,
        openapi_extra=open_to(Role.OPERATOR, act="reissue"),
    )
    plain = APIRouter(tags=["drops"])
    plain.add_api_route(
        PATH,
        drops.list_all,
        methods=["GET"],
        response_model=Page[DropView],
        openapi_extra=open_to(*CLIENTS),
    )
    plain.add_api_route(
        its_claims,
        taken.list_all,
        methods=["GET"],
        response_model=Page[ClaimView],
        openapi_extra=open_to(*_CLAIM),
    )
    lean.include_router(plain)
    return lean


class DropChange(Body):
    """The terms of a drop; what is left out stays, or takes its default in a new one."""

    quantity: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(
        description="Units: never fewer than are issued or pending."
    )
    per_customer: Annotated[int, Field(ge=1, le=MOST_PER_CUSTOMER)] = Field(
        1, description="Units that one customer may claim."
    )
    opens_at: Instant | None = Field(None, description="Before that nothing can be claimed. null: no bound.")
    closes_at: Instant | None = Field(
        None, description="From then on nothing can be claimed any more. null: no bound."
    )


class DropView(View):
    """A drop. remaining: what is neither issued nor pending."""

    code: Id
    quantity: int
    per_customer: int
    opens_at: str | None
    closes_at: str | None
    issued: int
    pending: int
    remaining: int
    created_at: str
    updated_at: str


class NewClaim(Body):
    """Who claims a unit."""

    customer_id: Id


class ClaimView(View):
    """A claim of one unit. reason: why it was returned."""

    claim_id: Id
    code: Id
    customer_id: Id
    state: ClaimState
    reason: Maybe[str] = None
    created_at: str
    updated_at: str


class ReissueRequest(Body):
    """Which returned claims are to be issued after all."""

    claim_ids: Annotated[list[Id], Field(min_length=1, max_length=MOST_AT_ONCE)]
    reason: Text | None = Field(None, description="Why, for the record.")


class ReissuedClaim(View):
    """What became of one. result: reissued, or the slug of what speaks against it, told by detail."""

    claim_id: str
    result: str
    detail: Maybe[str] = None


class ReissuedView(View):
    """What became of each, in the order in which they were asked for."""

    items: list[ReissuedClaim]


class _Drops:
    def __init__(self, database: Database, clock: Clock, gate: Gate) -> None:
        self._database = database
        self._clock = clock
        self._gate = gate

    async def put(self, code: Id, body: DropChange) -> Response:
        """Create a drop, or change its terms; what is left out stays.

        409 `below-claimed` where less would be offered than is issued or pending, or a customer has more than
        perCustomer would allow.
        """
        changes = {name: getattr(body, name) for name in body.model_fields_set}
        for name in {"opens_at", "closes_at"} & changes.keys():
            changes[name] = None if changes[name] is None else from_iso(changes[name])
        now = self._clock.now()
        put = await self._database.write(lambda connection: offers.put(connection, code, changes, now))
        if put.changed:
            await self._gate.renew(code)
        return json_answer(_drop(put.offer), 201 if put.created else 200)

    async def get(self, code: Id) -> Response:
        """Read a drop: its terms, and what is issued, pending and remaining."""
        return json_answer(_drop(await self._database.read(lambda connection: offers.read(connection, code))))

    async def list_all(self, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Response:
        """List drops by code."""
        (after,) = decode_cursor(cursor, str) or ("",)
        rows = await self._database.read(lambda connection: offers.page(connection, after, limit + 1))
        return json_answer(page_from(rows, limit, lambda row: row.code, _drop))


class _Claims:
    def __init__(self, database: Database, new_id: NewId, desk: Desk, bell: Bell) -> None:
        self._database = database
        self._new_id = new_id
        self._desk = desk
        self._bell = bell
        self._reissue = Reissue(database, desk)

    async def claim(self, request: Request, code: Id, body: NewClaim) -> Response:
        """Claim a unit of a drop: 202 once it is certain, to be issued soon.

        403 `not-open`; 404 `unknown-drop`; 409 `sold-out`, `already-claimed`; 422 `idempotency-key-reused`.
        """
        own_customer(request, body.customer_id, explicitly=True)
        entered = await self._desk.claim(
            Want(
                claim_id=self._new_id(),
                code=code,
                customer_id=body.customer_id,
                intent=intent_of(request, f"claims:{code}", body),
                traceparent=current_traceparent(),
            )
        )
        claim, seconds = entered.claim, wait_seconds(request)
        if seconds and claim.state is ClaimState.PENDING:
            claim = await self._wait(claim, seconds)
        location = {"location": f"{PATH}/{code}/claims/{claim.customer_id}"}
        return json_answer(_claim(claim), 202 if claim.state is ClaimState.PENDING else 200, location)

    async def get(self, request: Request, code: Id, customer_id: Id) -> Response:
        """Read a customer's latest claim of a drop: one that holds a unit, if there is any."""
        if confined_to(request) not in (None, customer_id):
            raise claims.unknown_claim(code, customer_id)
        claim = await self._database.read(
            lambda connection: claims.of_customer(connection, code, customer_id)
        )
        return json_answer(_claim(claim))

    async def list_all(
        self,
        request: Request,
        code: Id,
        state: Annotated[ClaimState | None, Query(description="Only claims in this state.")] = None,
        customer_id: Annotated[
            Id | None, Query(alias="customerId", description="Only this customer's claims.")
        ] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        """List a drop's claims, the oldest first. A customer sees his own."""
        own = confined_to(request)
        if own is not None and customer_id not in (None, own):
            return json_answer(page_of([], None))
        customer_id = own or customer_id
        (after,) = decode_cursor(cursor, str) or ("",)

        def work(connection: Connection) -> list[Claim]:
            offers.read(connection, code)
            return claims.page(
                connection, code, after=after, most=limit + 1, state=state, customer_id=customer_id
            )

        rows = await self._database.read(work)
        return json_answer(page_from(rows, limit, lambda row: row.id, _claim))

    async def reissue(self, code: Id, body: ReissueRequest) -> Response:
        """Have returned claims issued after all, as far as units are left. Each is decided alone.

        A result is `reissued`, or says what speaks against it: `sold-out`, `already-claimed` (the customer
        has claimed again since), `claim-not-returned`, `claim-under-way` (try again), `unknown-claim`.
        """
        results = await self._reissue.reissue(code, list(dict.fromkeys(body.claim_ids)))
        return json_answer(ReissuedView(items=[_reissued(result) for result in results]))

    async def _wait(self, claim: Claim, seconds: float) -> Claim:
        async def look() -> Claim | None:
            found = await self._database.read(lambda connection: claims.read(connection, claim.id))
            return None if found.state is ClaimState.PENDING else found

        return await self._bell.wait(claim.id, look, seconds) or claim


def _drop(offer: Offer) -> DropView:
    return DropView(
        code=offer.code,
        quantity=offer.quantity,
        per_customer=offer.per_customer,
        opens_at=None if offer.opens_at is None else iso(offer.opens_at),
        closes_at=None if offer.closes_at is None else iso(offer.closes_at),
        issued=offer.issued,
        pending=offer.taken - offer.issued,
        remaining=offer.quantity - offer.taken,
        created_at=iso(offer.created_at),
        updated_at=iso(offer.updated_at),
    )


def _claim(claim: Claim) -> ClaimView:
    return ClaimView(
        claim_id=claim.id,
        code=claim.code,
        customer_id=claim.customer_id,
        state=claim.state,
        reason=claim.reason,
        created_at=iso(claim.created_at),
        updated_at=iso(claim.updated_at),
    )


def _reissued(result: Reissued) -> ReissuedClaim:
    return ReissuedClaim(claim_id=result.claim_id, result=result.result, detail=result.detail)
