"""The coordinator's REST interface: requests in, use cases called, views out."""

import hashlib
from typing import Annotated, Any, Literal

import pydantic_core
from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from coordinator.branch import Branch, BranchState, refusal_reason
from coordinator.coordinator import (
    MOST_BRANCHES,
    BranchRequest,
    Coordinator,
    TransactionRequest,
    unknown_transaction,
)
from coordinator.inquiries import Inquiries
from coordinator.participants import Registry
from coordinator.transaction import TO_CONFIRM, UNDECIDED, Mode, State, Transaction
from shared.clock import Millis, iso
from shared.errors import Refused, Unreachable
from shared.http.answers import json_answer, no_content, problem_answer
from shared.http.caller import Caller
from shared.http.lean import LeanRoute
from shared.http.model import Body, Maybe, Text, View
from shared.http.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_from
from shared.http.parameters import PREFER, TCC_REASON, with_headers
from shared.http.prefer import wait_seconds
from shared.http.problems import declared
from shared.identity import Id
from shared.security.access import asked_by_service, forbidden
from shared.security.roles import Role, open_to
from shared.tcc import protocol
from shared.telemetry import current_traceparent

HEALTH_TIMEOUT = 1.0


class BranchBody(Body):
    """One participant's part."""

    participant: Id
    claim: dict[str, Any] = Field(description="What the participant is asked to hold, as its own API has it.")
    key: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None, description="Kafka key of the Confirm; left out: the branch id."
    )
    branch_id: Id | None = Field(
        None,
        description="Only for the initiator's own branch: the id of a reservation that it holds already for "
        "this transactionId. Such a branch counts as tried. Left out: the coordinator tries the branch.",
    )


class TransactionBody(Body):
    """A transaction to begin."""

    transaction_id: Id | None = None
    mode: Literal["auto", "manual"] = "auto"
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
    initiator: Id | None = Field(None, description="The participant whose branch is settled last.")
    branches: Annotated[list[BranchBody], Field(min_length=1, max_length=MOST_BRANCHES)]


class InquiryBody(Body):
    """Who asks: with it, a branch that no longer counts is told to cancel."""

    branch_id: Id | None = None


class RetryBody(Body):
    """Why it is to be driven now, for the record."""

    reason: Text | None = None


class BranchView(View):
    branch_id: str
    participant: str
    state: BranchState
    attempts: int
    last_error: str | None
    dead_letter: Maybe[str] = None


class TransactionView(View):
    transaction_id: str
    state: State
    mode: Mode
    deadline: str
    attention: str | None
    reason: Maybe[str] = None
    initiator: Maybe[str] = None
    branches: list[BranchView]
    created_at: str
    updated_at: str
    decided_at: Maybe[str] = None
    shrunk_at: Maybe[str] = Field(
        None, description="When its retention was over: since then its timeline and claims are gone."
    )


class EventView(View):
    """Something that happened, in the order in which it became durable. Further members depend on `event`."""

    model_config = ConfigDict(extra="allow")

    at: str
    event: str


class TimelineView(View):
    items: list[EventView]
    next_cursor: str | None = None


class InquiryView(View):
    decision: Literal["confirm", "cancel", "wait"]
    state: State
    deadline: str
    reason: Maybe[str] = None


class ParticipantView(View):
    name: str
    url: str
    confirm: str
    health: Literal["up", "down"]
    problem: Maybe[str] = None


class ParticipantsView(View):
    items: list[ParticipantView]
    next_cursor: str | None = None


def transaction_routes(coordinator: Coordinator, inquiries: Inquiries, default_timeout: Millis) -> APIRouter:
    """Return the routes to begin, show, inquire about and hurry a transaction."""
    router = APIRouter(prefix="/api/v1", route_class=LeanRoute, tags=["transactions"])

    @router.post(
        "/transactions",
        status_code=201,
        response_model=TransactionView,
        responses={200: {"model": TransactionView}, 202: {"model": TransactionView}, **declared(409)},
        openapi_extra=open_to(Role.SERVICE) | with_headers(PREFER),
    )
    async def begin_transaction(request: Request, body: TransactionBody) -> Response:
        _insist_on_own_initiator(asked_by_service(request), body)
        transaction, created = await coordinator.begin(_request(body, default_timeout))
        if transaction.state is State.TRYING:
            return _view(transaction, 202, {"retry-after": "1"})
        # A TRIED one waits for its caller, who would wait for it in vain.
        if transaction.state is not State.TRIED:
            transaction = await coordinator.wait_final(transaction, wait_seconds(request))
        if not (transaction.state in TO_CONFIRM or transaction.state is State.TRIED):
            return problem_answer(_cancelled(transaction))
        location = {"location": f"/api/v1/transactions/{transaction.transaction_id}"}
        return _view(transaction, 201 if created else 200, location)

    @router.get(
        "/transactions/{transaction_id}",
        response_model=TransactionView,
        openapi_extra=open_to(Role.SERVICE, Role.OPERATOR) | with_headers(PREFER),
    )
    async def show_transaction(request: Request, transaction_id: Id) -> Response:
        transaction = await coordinator.show(transaction_id)
        _insist_on_part(asked_by_service(request), transaction)
        return _view(await coordinator.wait_final(transaction, wait_seconds(request)))

    @router.get(
        "/transactions/{transaction_id}/events",
        response_model=TimelineView,
        openapi_extra=open_to(Role.OPERATOR),
    )
    async def show_events(transaction_id: Id) -> Response:
        return json_answer({"items": await coordinator.timeline(transaction_id), "nextCursor": None})

    @router.post(
        "/transactions/{transaction_id}/inquiries",
        response_model=InquiryView,
        openapi_extra=open_to(Role.SERVICE),
    )
    async def inquire(request: Request, transaction_id: Id, body: InquiryBody | None = None) -> Response:
        ruling = await inquiries.inquire(
            transaction_id, body.branch_id if body else None, asked_by_service(request)
        )
        return json_answer(
            InquiryView.model_construct(
                decision=ruling.decision,
                state=ruling.state,
                deadline=iso(ruling.deadline),
                reason=ruling.reason,
            )
        )

    @router.post(
        "/transactions/{transaction_id}/retries",
        status_code=202,
        response_model=TransactionView,
        openapi_extra=open_to(Role.OPERATOR, act="retry"),
    )
    async def retry_transaction(transaction_id: Id, body: RetryBody | None = None) -> Response:  # noqa: ARG001 - its reason is for the record
        return _view(await coordinator.retry(transaction_id), 202)

    return router


def manual_routes(coordinator: Coordinator) -> APIRouter:
    """Return the routes by which somebody else decides: add a branch, confirm, cancel."""
    router = APIRouter(prefix="/api/v1", route_class=LeanRoute, tags=["transactions"])

    @router.post(
        "/transactions/{transaction_id}/branches",
        status_code=201,
        response_model=TransactionView,
        responses={200: {"model": TransactionView}, 202: {"model": TransactionView}, **declared(409, 410)},
        openapi_extra=open_to(Role.SERVICE),
    )
    async def add_branch(request: Request, transaction_id: Id, body: BranchBody) -> Response:
        await _insist_on_own(coordinator, request, transaction_id)
        transaction, branch, opened = await coordinator.add(transaction_id, _branch(body))
        if branch.state is BranchState.TRYING:
            return _view(transaction, 202, {"retry-after": "1"})
        if branch.state in (BranchState.CLOSED, BranchState.REFUSED):
            return problem_answer(_refused(branch))
        return _view(transaction, 201 if opened else 200)

    @router.put(
        "/transactions/{transaction_id}",
        response_model=TransactionView,
        responses=declared(409, 410),
        openapi_extra=open_to(Role.SERVICE) | with_headers(PREFER),
    )
    async def confirm_transaction(request: Request, transaction_id: Id) -> Response:
        await _insist_on_own(coordinator, request, transaction_id)
        transaction = await coordinator.confirm(transaction_id)
        return _view(await coordinator.wait_final(transaction, wait_seconds(request)))

    @router.delete(
        "/transactions/{transaction_id}",
        status_code=204,
        responses=declared(409),
        openapi_extra=open_to(Role.SERVICE) | with_headers(TCC_REASON, PREFER),
    )
    async def cancel_transaction(request: Request, transaction_id: Id) -> Response:
        await _insist_on_own(coordinator, request, transaction_id)
        reason = request.headers.get(protocol.REASON, "cancelled")
        transaction = await coordinator.cancel(transaction_id, _slug(reason))
        await coordinator.wait_final(transaction, wait_seconds(request))
        return no_content()

    return router


def listing_routes(coordinator: Coordinator, registry: Registry, caller: Caller) -> APIRouter:
    """Return the routes that list: transactions and participants."""
    router = APIRouter(prefix="/api/v1", tags=["transactions"])

    @router.get("/transactions", response_model=Page[TransactionView], openapi_extra=open_to(Role.OPERATOR))
    async def list_transactions(
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
        state: State | None = None,
        attention: Annotated[bool | None, Query()] = None,
    ) -> Response:
        """Transactions in the order of their ids. attention: only those that want it (or don't)."""
        place = decode_cursor(cursor, str)
        after = None if place is None else place[0]
        found = await coordinator.page(state=state, attention=attention, after=after, most=limit + 1)
        return json_answer(page_from(found, limit, lambda one: one.transaction_id, view_of))

    @router.get(
        "/participants",
        response_model=ParticipantsView,
        openapi_extra=open_to(Role.OPERATOR, Role.MONITOR),
    )
    async def list_participants() -> Response:
        return json_answer({"items": [await _health(one, caller) for one in registry], "nextCursor": None})

    return router


async def _health(participant: Any, caller: Caller) -> dict[str, Any]:
    view = {
        "name": participant.name,
        "url": participant.collection,
        "confirm": participant.confirm,
        "health": "up",
    }
    try:
        reply = await caller.call("GET", participant.health, timeout=HEALTH_TIMEOUT)
    except Unreachable as error:
        return {**view, "health": "down", "problem": error.detail}
    if reply.status == 200:
        return view
    return {**view, "health": "down", "problem": f"{participant.health} answered {reply.status}"}


def _insist_on_own_initiator(service: str | None, body: TransactionBody) -> None:
    """Raise Refused where a service begins a transaction in another's name, or a held one in nobody's."""
    if service is None:
        return
    if body.initiator is not None and body.initiator != service:
        raise forbidden(f"Your token is that of {service}: it can't begin what {body.initiator} initiates.")
    if body.initiator is None and body.mode == "manual":
        detail = "Name yourself as the initiator: who else may decide about a held transaction?"
        raise Refused("initiator-required", detail, 422)


async def _insist_on_own(coordinator: Coordinator, request: Request, transaction_id: str) -> None:
    """Raise NotFound where a service would decide what another has initiated."""
    service = asked_by_service(request)
    if service is not None and (await coordinator.show(transaction_id)).initiator != service:
        raise unknown_transaction(transaction_id)


def _insist_on_part(service: str | None, transaction: Transaction) -> None:
    """Raise NotFound where a service asks for a transaction that it has no part in."""
    if service is not None and service not in {branch.participant for branch in transaction.branches}:
        raise unknown_transaction(transaction.transaction_id)


def view_of(transaction: Transaction) -> dict[str, Any]:
    """Return a transaction as TransactionView has it, written out because every order passes here."""
    view: dict[str, Any] = {
        "transactionId": transaction.transaction_id,
        "state": transaction.state,
        "mode": transaction.mode,
        "deadline": iso(transaction.deadline),
        "attention": transaction.attention,
        "branches": [_branch_view(branch) for branch in transaction.branches],
        "createdAt": iso(transaction.created_at),
        "updatedAt": iso(transaction.updated_at),
    }
    if transaction.reason is not None:
        view["reason"] = transaction.reason
    if transaction.initiator is not None:
        view["initiator"] = transaction.initiator
    if transaction.decided_at is not None:
        view["decidedAt"] = iso(transaction.decided_at)
    if transaction.shrunk_at is not None:
        view["shrunkAt"] = iso(transaction.shrunk_at)
    return view


def _branch_view(branch: Branch) -> dict[str, Any]:
    view: dict[str, Any] = {
        "branchId": branch.branch_id,
        "participant": branch.participant,
        "state": branch.state,
        "attempts": branch.attempts,
        "lastError": branch.last_error,
    }
    if branch.dead_letter is not None:
        view["deadLetter"] = branch.dead_letter
    return view


def _view(transaction: Transaction, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return json_answer(view_of(transaction), status, headers)


def _request(body: TransactionBody, default_timeout: Millis) -> TransactionRequest:
    timeout = default_timeout if body.timeout_seconds is None else round(body.timeout_seconds * 1000)
    return TransactionRequest(
        transaction_id=body.transaction_id,
        mode=Mode(body.mode),
        timeout=max(timeout, 1),
        initiator=body.initiator,
        branches=[_branch(branch) for branch in body.branches],
        body_hash=_hash(body),
        traceparent=current_traceparent(),
    )


def _branch(body: BranchBody) -> BranchRequest:
    return BranchRequest(body.participant, body.claim, body.key, body.branch_id)


def _hash(body: TransactionBody) -> str:
    """Return what a repeat is compared by: the body as it was understood, without its id."""
    return hashlib.sha256(pydantic_core.to_json(body, exclude={"transaction_id"})).hexdigest()


def _slug(reason: str) -> str:
    """Return a caller's reason as a slug that may stand in a header."""
    return "".join(letter for letter in reason if letter.isascii() and (letter.isalnum() or letter in "-._"))[
        :64
    ] or ("cancelled")


def _cancelled(transaction: Transaction) -> Refused:
    assert transaction.state not in UNDECIDED
    refusing = next((branch for branch in transaction.branches if branch.problem is not None), None)
    if refusing is not None:
        return _refused(refusing)
    reason = transaction.reason or "transaction-cancelled"
    detail = (
        f"Transaction {transaction.transaction_id} was cancelled: {reason}. Nothing is kept; begin a new one."
    )
    return Refused(reason, detail, 409)


def _refused(branch: Branch) -> Refused:
    problem = dict(branch.problem or {})
    detail = str(problem.get("detail") or branch.last_error or "It said no.")
    return Refused(
        refusal_reason(branch),
        detail,
        409,
        branchId=branch.branch_id,
        participant=branch.participant,
        branchProblem=problem,
    )
