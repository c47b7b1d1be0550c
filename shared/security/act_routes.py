"""The record of operators' acts over HTTP. The same route in every program."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from shared.clock import iso
from shared.database.port import Database
from shared.http.answers import json_answer
from shared.http.model import Maybe, View
from shared.http.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_from
from shared.messaging.selection_query import Instant, millis
from shared.security.acts import Act, Outcome, page
from shared.security.roles import Role, open_to

ACTS_PATH: Final = "/api/v1/audit"


class ActView(View):
    """Something that an operator did. outcome: unknown where a program died before it could write it down,
    or could not tell itself."""

    act_id: str
    at: str
    who: str
    role: str
    act: str
    target: str
    reason: Maybe[str] = None
    trace_id: Maybe[str] = None
    outcome: Outcome
    status: Maybe[int] = None
    problem: Maybe[str] = None
    ended_at: Maybe[str] = None


def act_routes(database: Database) -> APIRouter:
    """Return the route that lists the acts."""
    router = APIRouter(tags=["audit"])

    @router.get(ACTS_PATH, response_model=Page[ActView], openapi_extra=open_to(Role.OPERATOR))
    async def list_acts(
        who: Annotated[
            str | None, Query(min_length=1, max_length=200, description="Only acts of this one.")
        ] = None,
        act: Annotated[
            str | None, Query(min_length=1, max_length=40, description="Only acts of this kind.")
        ] = None,
        since: Annotated[Instant | None, Query(description="Only acts at or after this instant.")] = None,
        until: Annotated[Instant | None, Query(description="Only acts before this instant.")] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        """List what operators did, the newest first. Without authentication nothing is recorded."""
        place = decode_cursor(cursor, str)
        found = await database.read(
            lambda connection: page(
                connection,
                who=who,
                act=act,
                since=millis(since),
                until=millis(until),
                before=None if place is None else place[0],
                limit=limit + 1,
            )
        )
        return json_answer(page_from(found, limit, lambda one: one.id, _view))

    return router


def _view(one: Act) -> dict[str, Any]:
    view = {
        "actId": one.id,
        "at": iso(one.at),
        "who": one.who,
        "role": one.role,
        "act": one.act,
        "target": one.target,
        "reason": one.reason,
        "traceId": one.trace,
        "outcome": one.outcome.value,
        "status": one.status,
        "problem": one.problem,
        "endedAt": None if one.ended_at is None else iso(one.ended_at),
    }
    return {name: value for name, value in view.items() if value is not None}
