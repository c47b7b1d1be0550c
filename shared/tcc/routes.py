"""The HTTP door of a participant: its reservations as a REST collection, every call ending in `handle`.

With the protocol's headers a call belongs to a transaction: POST is its Try, PUT its Confirm, DELETE its
Cancel. Without them it is a customer's own, standalone reservation, which expires by itself and whose Confirm
travels over Kafka.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Literal

import pydantic_core
from fastapi import APIRouter
from pydantic import BaseModel, Field, create_model
from starlette.requests import Request
from starlette.responses import Response

from shared.clock import iso
from shared.errors import Refused
from shared.http.answers import json_answer, no_content
from shared.http.lean import LeanRoute
from shared.http.model import Maybe, Seconds, View
from shared.http.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, encode_cursor, page_of
from shared.http.parameters import (
    PREFER,
    TCC_BRANCH_ID,
    TCC_DEADLINE,
    TCC_REASON,
    TCC_TRANSACTION_ID,
    with_headers,
)
from shared.http.prefer import wait_seconds
from shared.http.problems import declared
from shared.identity import Id
from shared.security.access import (
    asked_by_service,
    confined_to,
    forbidden,
    insist_on_coordinator,
    own_customer,
    principal_of,
)
from shared.security.roles import CLIENTS, Role, open_to
from shared.tcc.command import C, Command
from shared.tcc.fence import Fence
from shared.tcc.headers import TccHeaders
from shared.tcc.participant import Participant, ParticipantHost
from shared.tcc.protocol import Phase, State
from shared.tcc.refusals import unknown
from shared.telemetry import current_traceparent

Shown = Literal["TRYING", "TRIED", "CONFIRMING", "CONFIRMED", "CANCELLING", "CANCELLED"]


class ReservationView(View):
    """A reservation. What it claims stands beside these fields.

    TRYING and CANCELLING are seen only of a participant that does something outside its database.
    """

    id: Id
    uri: str = Field(description="Where it is read, confirmed (PUT) and cancelled (DELETE).")
    state: Shown
    expires: Maybe[str] = Field(
        None,
        description="When it lapses unless it is confirmed, ISO 8601 UTC. Not there for a reservation that "
        "was cancelled before it was tried.",
    )
    transaction_id: Maybe[str] = Field(None, description="The transaction it belongs to, if any.")
    reason: Maybe[str] = Field(None, description="Why it was cancelled.")
    in_doubt: Maybe[bool] = Field(
        None, description="True while whoever must be asked about it is out of reach: it stays held."
    )
    created_at: str
    updated_at: str


def reservation_routes(host: ParticipantHost[C], *, base_url: str, hold_seconds: int = 600) -> APIRouter:
    """Return the routes of a participant's reservations, under /api/v1/<collection>.

    base_url: what their uris begin with (no slash at its end); hold_seconds: how long a standalone
    reservation lasts whose request doesn't say.
    """
    participant = host.participant
    door = _Door(host, base_url, hold_seconds)
    view = _view_model(participant)
    path = f"/api/v1/{participant.collection}"
    router = APIRouter(route_class=LeanRoute, tags=[participant.collection])
    router.add_api_route(
        path,
        _reserve_endpoint(door, _request_model(participant)),
        methods=["POST"],
        status_code=201,
        response_model=view,
        responses=declared(402, 409, 410, 425),
        openapi_extra=open_to(*CLIENTS, act="reserve")
        | with_headers(TCC_TRANSACTION_ID, TCC_BRANCH_ID, TCC_DEADLINE),
        name="reserve",
    )
    router.add_api_route(
        path + "/{reservation_id}",
        door.show,
        methods=["GET"],
        response_model=view,
        openapi_extra=open_to(*CLIENTS),
    )
    router.add_api_route(
        path + "/{reservation_id}",
        door.confirm,
        methods=["PUT"],
        status_code=204,
        responses={
            202: {"model": view, "description": "Accepted, not yet applied"},
            **declared(404, 409, 410, 425),
        },
        openapi_extra=open_to(*CLIENTS, act="confirm-reservation") | with_headers(TCC_TRANSACTION_ID, PREFER),
    )
    router.add_api_route(
        path + "/{reservation_id}",
        door.cancel,
        methods=["DELETE"],
        status_code=204,
        responses={202: {"model": view, "description": "Under way: ask again"}, **declared(404, 409, 425)},
        openapi_extra=open_to(*CLIENTS, act="cancel-reservation")
        | with_headers(TCC_TRANSACTION_ID, TCC_REASON),
    )
    lists = APIRouter(tags=[participant.collection])
    lists.add_api_route(
        path,
        door.list_all,
        methods=["GET"],
        response_model=Page.__class_getitem__(view),
        openapi_extra=open_to(Role.OPERATOR),
    )
    router.include_router(lists)
    return router


_NO_SECONDS: Final = "How long a transaction's reservation lasts is said by TCC-Deadline, not by seconds."


class _Door(Generic[C]):
    def __init__(self, host: ParticipantHost[C], base_url: str, hold_seconds: int) -> None:
        self._host = host
        self._base = f"{base_url}/api/v1/{host.participant.collection}/"
        self._hold_seconds = hold_seconds

    async def reserve(self, request: Request, claim: C, seconds: int | None) -> Response:
        headers = TccHeaders.read(request.scope["headers"])
        if headers.is_try:
            insist_on_coordinator(request)
            assert headers.branch_id is not None
            if seconds is not None:
                raise Refused("invalid-request", _NO_SECONDS, 422)
            branch_id, expires_at = headers.branch_id, headers.deadline
        else:
            claim = _for_customer(request, claim)
            branch_id = self._host.new_id()
            expires_at = self._host.clock.now() + 1000 * (seconds or self._hold_seconds)
        answer = await self._host.handle(
            Command(
                phase=Phase.TRY,
                branch_id=branch_id,
                transaction_id=headers.transaction_id,
                claim=claim,
                expires_at=expires_at,
                traceparent=current_traceparent(),
            )
        )
        view = self.view(answer.fence)
        return json_answer(view, 201, {"location": view["uri"]})

    async def show(self, request: Request, reservation_id: Id) -> Response:
        """Read one reservation."""
        held = await self._host.find(reservation_id)
        if held is None or confined_to(request) not in (None, _customer_of(held)):
            raise unknown(reservation_id)
        if confined_to(request) is None and asked_by_service(request) is not None:
            insist_on_coordinator(request)
        return json_answer(self.view(held))

    async def confirm(self, request: Request, reservation_id: Id) -> Response:
        """Confirm: keep for good what is held.

        Within a transaction (TCC-Transaction-Id) it is applied at once. A standalone reservation's Confirm
        is decided, and applied when its message has travelled over Kafka: 202 until then.
        """
        transaction_id = TccHeaders.read(request.scope["headers"]).transaction_id
        await self._insist_on_own(request, reservation_id, transaction_id)
        if transaction_id is not None:
            await self._host.handle(
                Command(phase=Phase.CONFIRM, branch_id=reservation_id, transaction_id=transaction_id)
            )
            return no_content()
        patience = wait_seconds(request)
        held: Fence | None = (await self._host.request_confirm(reservation_id)).fence
        assert held is not None
        if held.state is State.CONFIRMING and patience > 0:
            held = await self._host.wait_for(reservation_id, _CONFIRMED, patience) or held
        return no_content() if held.state is State.CONFIRMED else self._accepted(held)

    async def cancel(self, request: Request, reservation_id: Id) -> Response:
        """Cancel: let go what is held.

        Within a transaction one that is unknown here leaves a tombstone, so that its late Try is refused.
        """
        headers = TccHeaders.read(request.scope["headers"])
        await self._insist_on_own(request, reservation_id, headers.transaction_id)
        answer = await self._host.handle(
            Command(
                phase=Phase.CANCEL,
                branch_id=reservation_id,
                transaction_id=headers.transaction_id,
                reason=headers.reason or "cancelled",
            )
        )
        return no_content() if answer.state is State.CANCELLED else self._accepted(answer.fence)

    async def list_all(
        self, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None, state: Shown | None = None
    ) -> Response:
        """List reservations by id."""
        place = decode_cursor(cursor, str)
        after = "" if place is None else place[0]
        found = await self._host.page(None if state is None else State(state), after, limit + 1)
        items = [self.view(held) for held in found[:limit]]
        return json_answer(page_of(items, encode_cursor(items[-1]["id"]) if len(found) > limit else None))

    def view(self, held: Fence) -> dict[str, Any]:
        """Show a reservation, as ReservationView and the claim's fields."""
        view: dict[str, Any] = {"id": held.id, "uri": self._base + held.id, "state": held.state.value}
        if held.expires_at is not None:
            view["expires"] = iso(held.expires_at)
        if held.transaction_id is not None:
            view["transactionId"] = held.transaction_id
        if held.claim is not None:
            view |= pydantic_core.from_json(held.claim)
        if held.reason is not None:
            view["reason"] = held.reason
        if held.in_doubt:
            view["inDoubt"] = True
        view["createdAt"] = iso(held.created_at)
        view["updatedAt"] = iso(held.updated_at)
        return view

    async def _insist_on_own(self, request: Request, reservation_id: str, transaction_id: str | None) -> None:
        """Raise Refused where a request is not for its sender to make: for a branch it is the coordinator's,
        for a standalone reservation that of its customer, to whom others' are unknown."""
        if transaction_id is not None:
            insist_on_coordinator(request)
            return
        _insist_on_person(request)
        own = confined_to(request)
        if own is None:
            return
        held = await self._host.find(reservation_id)
        if held is None or _customer_of(held) != own:
            raise unknown(reservation_id)

    def _accepted(self, held: Fence) -> Response:
        return json_answer(self.view(held), 202, {"location": self._base + held.id, "retry-after": "1"})


_PERSONS: Final = frozenset({Role.CUSTOMER, Role.OPERATOR})
_CONFIRMED: Final = frozenset({State.CONFIRMED})


def _insist_on_person(request: Request) -> None:
    principal = principal_of(request)
    if principal is not None and not principal.roles & _PERSONS:
        raise forbidden("A service reserves within a transaction only, and the coordinator calls for it.")


def _for_customer(request: Request, claim: C) -> C:
    """Return a standalone claim as of the customer who makes it; raise Refused (403) for another's."""
    _insist_on_person(request)
    own = confined_to(request)
    if own is None:
        return claim
    named: str | None = getattr(claim, "customer_id", None)
    if named is None:
        raise forbidden("Nothing here is any customer's own: reservations are made within transactions.")
    own_customer(request, named, explicitly="customer_id" in claim.model_fields_set)
    return claim if named == own else claim.model_copy(update={"customer_id": own})


def _customer_of(held: Fence) -> str | None:
    """Return whose a reservation is, as far as its claim names a customer."""
    claim = None if held.claim is None else pydantic_core.from_json(held.claim)
    return claim.get("customerId") if isinstance(claim, dict) else None


def _reserve_endpoint(door: _Door[C], model: type[BaseModel]) -> Callable[..., Awaitable[Response]]:
    async def reserve(request: Request, body: Any) -> Response:
        """Try: hold what is claimed until it is confirmed, cancelled, or expires.

        A transaction's Try (all three TCC headers) takes its id from TCC-Branch-Id, and its expiry from
        TCC-Deadline; repeating it changes nothing and answers as before.
        """
        return await door.reserve(request, body, body.seconds)

    # The model is made for each participant, so it can't stand in the signature.
    reserve.__annotations__["body"] = model
    return reserve


def _request_model(participant: Participant[C]) -> type[BaseModel]:
    """Return the claim's model with `seconds` beside its fields."""
    seconds = Field(
        None, description="How long a standalone reservation lasts; not for those of a transaction."
    )
    return create_model(
        f"{participant.name.capitalize()}ReservationRequest",
        __base__=participant.claim,
        seconds=(Seconds | None, seconds),
    )


def _view_model(participant: Participant[C]) -> type[ReservationView]:
    """Return the view with the claim's fields beside its own, for the documentation."""
    fields = participant.claim.model_fields
    taken = fields.keys() & (ReservationView.model_fields.keys() | {"seconds"})
    if taken:
        raise ValueError(f"A claim can't name its fields {sorted(taken)}: a reservation has its own.")
    optional: Any = Maybe
    claimed: dict[str, Any] = {name: (optional[field.annotation], None) for name, field in fields.items()}
    return create_model(f"{participant.name.capitalize()}Reservation", __base__=ReservationView, **claimed)
