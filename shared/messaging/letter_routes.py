"""Dead letters over HTTP: lists, groups, the ledger, and what may be done about letters. The same routes in
every program.
"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from shared.http.answers import json_answer
from shared.http.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, encode_cursor, page_of
from shared.http.problems import declared
from shared.identity import Id
from shared.messaging.ledger import Act, LedgerLine
from shared.messaging.letter_act_routes import MOST_AT_ONCE, letter_act_routes
from shared.messaging.letter_office import LetterOffice
from shared.messaging.letter_views import (
    ActView,
    GroupView,
    LetterDetails,
    LetterView,
    StandingsView,
    act_view,
    group_view,
    letter_details,
    letter_view,
    standing_view,
)
from shared.messaging.redaction import Redactor
from shared.messaging.selection import place_of
from shared.messaging.selection_query import Instant, Selected, millis
from shared.security.roles import Role, open_to

PREFIX: Final = "/api/v1/dead-letters"
_OPERATOR: Final = open_to(Role.OPERATOR)

Redact = Annotated[
    bool,
    Query(description="Whether what looks like a secret is shown as `***`; false: records as they are."),
]


def dead_letter_routes(office: LetterOffice, redactor: Redactor) -> APIRouter:
    """Return the routes below /api/v1/dead-letters."""
    router = APIRouter(prefix=PREFIX, tags=["dead letters"])

    @router.get(
        "",
        response_model=Page[LetterView],
        summary="List dead letters, oldest first",
        openapi_extra=_OPERATOR,
    )
    async def list_letters(
        selection: Selected, redact: Redact = True, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Response:
        letters, more = await office.page(selection, decode_cursor(cursor, int, str), limit)
        next_cursor = encode_cursor(*place_of(letters[-1])) if more else None
        shown = redactor if redact else None
        return json_answer(page_of([letter_view(letter, shown) for letter in letters], next_cursor))

    @router.get(
        "/standings",
        response_model=StandingsView,
        summary="Say how it stands with some dead letters",
        openapi_extra=_OPERATOR,
    )
    async def show_standings(
        letter_ids: Annotated[
            list[Id],
            Field(min_length=1, max_length=MOST_AT_ONCE),
            Query(alias="letterId", description="The letters, by their ids: the parameter is repeated."),
        ],
    ) -> Response:
        views = [standing_view(standing) for standing in await office.standings(letter_ids)]
        return json_answer(StandingsView(items=views))

    @router.get(
        "/groups",
        response_model=Page[GroupView],
        summary="Count dead letters that failed alike",
        openapi_extra=_OPERATOR,
    )
    async def list_groups(
        selection: Selected, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Response:
        place = decode_cursor(cursor, str)
        groups, more = await office.groups(selection, None if place is None else place[0], limit)
        next_cursor = encode_cursor(groups[-1].fingerprint) if more else None
        return json_answer(page_of([group_view(group) for group in groups], next_cursor))

    @router.get(
        "/history",
        response_model=Page[ActView],
        summary="Read the ledger of all acts, oldest first",
        openapi_extra=_OPERATOR,
    )
    async def read_history(
        letter_id: Annotated[
            Id | None, Query(alias="letterId", description="Only acts on this letter.")
        ] = None,
        act: Annotated[Act | None, Query(description="Only acts of this kind.")] = None,
        since: Annotated[Instant | None, Query(description="Only acts at or after this instant.")] = None,
        until: Annotated[Instant | None, Query(description="Only acts before this instant.")] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        found = await office.history(
            letter_id=letter_id,
            act=act,
            since=millis(since),
            until=millis(until),
            after=decode_cursor(cursor, int, str),
            limit=limit,
        )
        return _lines(*found)

    @router.get(
        "/replays",
        response_model=Page[ActView],
        summary="List what was replayed, oldest first",
        openapi_extra=_OPERATOR,
    )
    async def list_replays(limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Response:
        after = decode_cursor(cursor, int, str)
        return _lines(*await office.history(act=Act.REPLAY, after=after, limit=limit))

    @router.get(
        "/purges",
        response_model=Page[ActView],
        summary="List what was purged, oldest first",
        openapi_extra=_OPERATOR,
    )
    async def list_purges(limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Response:
        after = decode_cursor(cursor, int, str)
        return _lines(*await office.history(act=Act.PURGE, after=after, limit=limit))

    @router.get(
        "/{letter_id}",
        response_model=LetterDetails,
        responses=declared(404),
        summary="Show a dead letter and its latest replays",
        openapi_extra=_OPERATOR,
    )
    async def show_letter(letter_id: Id, redact: Redact = True) -> Response:
        letter, lines = await office.show(letter_id)
        return json_answer(letter_details(letter, lines, redactor if redact else None))

    @router.get(
        "/{letter_id}/history",
        response_model=Page[ActView],
        responses=declared(404),
        summary="Read what was done to a letter, also to one that is gone",
        openapi_extra=_OPERATOR,
    )
    async def read_letter_history(
        letter_id: Id, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Response:
        after = decode_cursor(cursor, int, str)
        lines, more = await office.history(letter_id=letter_id, after=after, limit=limit)
        if not lines:
            # One to which nothing was done yet is there all the same; raises NotFound otherwise.
            await office.show(letter_id)
        return _lines(lines, more)

    both = APIRouter()
    both.include_router(router)
    both.include_router(letter_act_routes(office, PREFIX))
    return both


def _lines(lines: list[LedgerLine], more: bool) -> Response:
    next_cursor = encode_cursor(lines[-1].at, lines[-1].id) if more else None
    views: list[Any] = [act_view(line) for line in lines]
    return json_answer(page_of(views, next_cursor))
