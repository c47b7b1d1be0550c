"""A participant's branches in bulk, as briefly as they can be compared: what a reconciliation reads.

`GET` pages through all of them in the order of their ids; `lookups` tells of some by their ids. Either says
how far this program's consumer is behind: what it hasn't come to is merely late.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import Connection, bindparam, func, select
from starlette.requests import Request
from starlette.responses import Response

from shared.clock import iso
from shared.database.port import Database
from shared.database.prepared import Prepared
from shared.http.answers import json_answer
from shared.http.lean import LeanRoute
from shared.http.model import Body, Maybe, View
from shared.http.paging import Cursor, decode_cursor, encode_cursor, page_of
from shared.identity import Id
from shared.messaging.letters import branches_with_letters
from shared.security.access import insist_on_coordinator
from shared.security.roles import Role, open_to
from shared.tcc.fence import RESERVATION
from shared.tcc.routes import Shown

BRANCHES_PATH: Final = "/api/v1/branches"
MOST_LISTED: Final = 2_000
MOST_LOOKED_UP: Final = 500
"""So many ids fit into one request's body."""

Lag = Callable[[], int | None]

_Row = tuple[str, str | None, str, int | None, int]


class BranchView(View):
    """A branch as its participant knows it. A standalone reservation has no transactionId."""

    id: Id
    transaction_id: Maybe[str] = None
    state: Shown
    expires: Maybe[str] = None
    updated_at: str
    letter: Maybe[bool] = Field(None, description="True while its Confirm is a dead letter.")


class BranchesView(View):
    """Some branches. lag: how many records this consumer knows of and has not applied; null: not known."""

    items: list[BranchView]
    lag: int | None


class BranchPage(BranchesView):
    """A page of all branches, in the order of their ids. total: how many there are, on the first page."""

    next_cursor: str | None
    total: Maybe[int] = None


class LookupBody(Body):
    """The branches to tell of. Those that are unknown here are left out of the answer."""

    branch_ids: Annotated[list[Id], Field(min_length=1, max_length=MOST_LOOKED_UP)]


def branch_routes(database: Database, topic: str, lag: Lag) -> APIRouter:
    """Return the two routes. topic: where the Confirms travel; lag: records that the consumer is behind."""
    router = APIRouter(tags=["branches"])
    lean = APIRouter(route_class=LeanRoute, tags=["branches"])

    @router.get(BRANCHES_PATH, response_model=BranchPage, openapi_extra=open_to(Role.SERVICE))
    async def list_branches(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = MOST_LISTED,
        cursor: Cursor = None,
    ) -> Response:
        """List every branch by id. For the coordinator alone."""
        insist_on_coordinator(request)
        place = decode_cursor(cursor, str)
        after = "" if place is None else place[0]

        def work(connection: Connection) -> tuple[list[_Row], Collection[str], int | None]:
            rows = _AFTER.rows(connection, {"after": after, "most": limit + 1})
            counted = None if place is not None else connection.execute(_COUNT).scalar_one()
            return rows, branches_with_letters(connection, topic, [row[0] for row in rows]), counted

        # Before the rows are read: what was applied in between is in them already.
        behind = lag()
        found, lettered, total = await database.read(work)
        more = encode_cursor(found[limit - 1][0]) if len(found) > limit else None
        page = page_of(_views(found[:limit], lettered), more)
        return json_answer({**page, "lag": behind, **({} if total is None else {"total": total})})

    @lean.post(BRANCHES_PATH + "/lookups", response_model=BranchesView, openapi_extra=open_to(Role.SERVICE))
    async def look_up_branches(request: Request, body: LookupBody) -> Response:
        """Tell of some branches. For the coordinator alone."""
        insist_on_coordinator(request)

        def work(connection: Connection) -> tuple[list[_Row], Collection[str]]:
            rows = connection.execute(_OUTLINE.where(RESERVATION.c.id.in_(body.branch_ids)))
            outlines: list[_Row] = [tuple(row) for row in rows]
            return outlines, branches_with_letters(connection, topic, [row[0] for row in outlines])

        behind = lag()
        found, lettered = await database.read(work)
        return json_answer({"items": _views(found, lettered), "lag": behind})

    router.include_router(lean)
    return router


def _views(rows: Sequence[_Row], lettered: Collection[str]) -> list[dict[str, Any]]:
    views = []
    for branch_id, transaction_id, state, expires_at, updated_at in rows:
        view: dict[str, Any] = {"id": branch_id, "state": state, "updatedAt": iso(updated_at)}
        if transaction_id is not None:
            view["transactionId"] = transaction_id
        if expires_at is not None:
            view["expires"] = iso(expires_at)
        if branch_id in lettered:
            view["letter"] = True
        views.append(view)
    return views


_OUTLINE: Final = select(
    RESERVATION.c.id,
    RESERVATION.c.transaction_id,
    RESERVATION.c.state,
    RESERVATION.c.expires_at,
    RESERVATION.c.updated_at,
)
_AFTER: Final = Prepared(
    _OUTLINE.where(RESERVATION.c.id > bindparam("after")).order_by(RESERVATION.c.id).limit(bindparam("most"))
)
_COUNT: Final = select(func.count()).select_from(RESERVATION)
