"""Dead letters over HTTP: list, show, replay. The same three routes in every program."""

import base64
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import Connection
from starlette.responses import Response

from shared.clock import Clock, iso
from shared.database.port import Database
from shared.http.answers import json_answer
from shared.http.lean import LeanRoute
from shared.http.model import Body, Maybe, Text, View
from shared.http.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, encode_cursor, page_of
from shared.http.problems import declared
from shared.identity import Id, NewId
from shared.messaging.letters import DeadLetter, LetterState, find, page
from shared.messaging.outbox import Outbox
from shared.messaging.replays import LedgerLine, ReplayOutcome, ledger, replay

Encoding = Literal["base64"]


class HeaderView(View):
    """One header of a record; repeated names stay repeated."""

    name: str
    value: str
    encoding: Maybe[Encoding] = Field(None, description="Set where the value is no text.")


class ExceptionView(View):
    type: str = Field(description="The exception's class with its module.")
    cause: str = Field(description="The class at the root of the chain.")
    message: str = Field(description="Capped and redacted.")


class ReplayView(View):
    """A line of the ledger."""

    replay_id: str
    at: str
    who: str
    why: Maybe[str] = None


class LetterView(View):
    """A record that could not be applied. attempts counts failed deliveries, repeats and replays included."""

    letter_id: str
    topic: str
    partition: int
    offset: int
    key: str | None
    key_encoding: Maybe[Encoding] = Field(None, description="Set where the key is no text.")
    value: str | None
    value_encoding: Maybe[Encoding] = Field(None, description="Set where the value is no text.")
    headers: list[HeaderView]
    exception: ExceptionView
    attempts: int
    replays: int
    state: LetterState
    transaction_id: str | None
    branch_id: str | None
    consumer_group: str
    created_at: str
    updated_at: str


class LetterDetails(LetterView):
    """A letter with its stack trace and the ledger of its replays."""

    stack_trace: str = Field(description="Capped and redacted.")
    replayed: list[ReplayView]


class ReplayRequest(Body):
    """Who wants the replay, and why: for the ledger."""

    who: Text = "operator"
    why: Text | None = None


class ReplayResult(View):
    """What became of asking for a replay. skipped: why nothing was published."""

    letter_id: str
    state: LetterState
    replays: int
    skipped: Maybe[ReplayOutcome] = None


_TOPIC: Final = r"^[A-Za-z0-9._-]{1,249}$"
_STATES: Final = "Only letters in this state."
_REPLAY_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The letter is settled already: skipped.", "model": ReplayResult},
    202: {"description": "Its record is published again, or was just before.", "model": ReplayResult},
    **declared(404),
}


def dead_letter_routes(*, database: Database, outbox: Outbox, clock: Clock, new_id: NewId) -> APIRouter:
    """Return the routes below /api/v1/dead-letters."""
    router = APIRouter(prefix="/api/v1/dead-letters", tags=["dead letters"])
    lean = APIRouter(prefix="/api/v1/dead-letters", tags=["dead letters"], route_class=LeanRoute)

    @router.get("", response_model=Page[LetterView], summary="List dead letters, oldest first")
    async def list_letters(
        topic: Annotated[str | None, Query(pattern=_TOPIC, description="Only letters of this topic.")] = None,
        state: Annotated[LetterState | None, Query(description=_STATES)] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        place = decode_cursor(cursor, str)
        after = None if place is None else place[0]

        def work(connection: Connection) -> tuple[list[DeadLetter], bool]:
            return page(connection, topic=topic, state=state, after=after, limit=limit)

        letters, more = await database.read(work)
        next_cursor = encode_cursor(letters[-1].id) if more else None
        return json_answer(page_of([_view(letter) for letter in letters], next_cursor))

    @lean.get(
        "/{letter_id}",
        response_model=LetterDetails,
        responses=declared(404),
        summary="Show a dead letter and its replays",
    )
    async def show_letter(letter_id: Id) -> Response:
        def work(connection: Connection) -> tuple[DeadLetter, list[LedgerLine]]:
            return find(connection, letter_id), ledger(connection, letter_id)

        letter, lines = await database.read(work)
        return json_answer(_details(letter, lines))

    @lean.post(
        "/{letter_id}/replays",
        status_code=202,
        responses=_REPLAY_RESPONSES,
        summary="Publish a dead letter's record again",
    )
    async def replay_letter(letter_id: Id, body: ReplayRequest | None = None) -> Response:
        asked = body or ReplayRequest()

        def work(connection: Connection) -> tuple[ReplayOutcome, DeadLetter]:
            return replay(
                connection,
                letter_id,
                outbox=outbox,
                now=clock.now(),
                new_id=new_id,
                who=asked.who,
                why=asked.why,
            )

        outcome, letter = await database.write(work)
        skipped = None if outcome is ReplayOutcome.PUBLISHED else outcome
        result = ReplayResult(
            letter_id=letter.id, state=letter.state, replays=letter.replays, skipped=skipped
        )
        return json_answer(result, 200 if outcome is ReplayOutcome.SETTLED else 202)

    both = APIRouter()
    both.include_router(router)
    both.include_router(lean)
    return both


def _view(letter: DeadLetter) -> LetterView:
    return LetterView(**_fields(letter))


def _details(letter: DeadLetter, lines: list[LedgerLine]) -> LetterDetails:
    replayed = [ReplayView(replay_id=line.id, at=iso(line.at), who=line.who, why=line.why) for line in lines]
    return LetterDetails(**_fields(letter), stack_trace=letter.failure.stack_trace, replayed=replayed)


def _fields(letter: DeadLetter) -> dict[str, Any]:
    key, key_encoding = _text(letter.key)
    value, value_encoding = _text(letter.value)
    failure = letter.failure
    return {
        "letter_id": letter.id,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "key": key,
        "key_encoding": key_encoding,
        "value": value,
        "value_encoding": value_encoding,
        "headers": [_header(name, content) for name, content in letter.headers],
        "exception": ExceptionView(type=failure.type, cause=failure.cause, message=failure.message),
        "attempts": letter.attempts,
        "replays": letter.replays,
        "state": letter.state,
        "transaction_id": letter.transaction_id,
        "branch_id": letter.branch_id,
        "consumer_group": letter.consumer_group,
        "created_at": iso(letter.created_at),
        "updated_at": iso(letter.updated_at),
    }


def _header(name: str, content: bytes) -> HeaderView:
    value, encoding = _text(content)
    assert value is not None
    return HeaderView(name=name, value=value, encoding=encoding)


def _text(content: bytes | None) -> tuple[str | None, Encoding | None]:
    """Write bytes as text, or as base64 where they are none."""
    if content is None:
        return None, None
    try:
        return content.decode("utf-8"), None
    except UnicodeDecodeError:
        return base64.b64encode(content).decode(), "base64"
