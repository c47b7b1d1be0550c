"""What may be done about dead letters, over HTTP. Every act says who wants it and why, for the ledger."""

import base64
import binascii
from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from shared.errors import HandfastError, Refused
from shared.http.answers import json_answer
from shared.http.lean import LeanRoute
from shared.http.model import Body, Maybe, Text, View
from shared.http.paging import DEFAULT_LIMIT, MAX_LIMIT, decode_cursor, encode_cursor
from shared.http.problems import Problem, declared, problem_of
from shared.identity import Id
from shared.messaging.ledger import Asked
from shared.messaging.letter_office import LetterOffice
from shared.messaging.letter_views import Encoding
from shared.messaging.letters import DeadLetter, LetterState
from shared.messaging.purges import Kept
from shared.messaging.replays import ReplayOutcome
from shared.messaging.selection_query import Filters
from shared.security.access import principal_of
from shared.security.roles import Role, open_to

MOST_REPLAYS: Final = 1_000_000
MOST_SECONDS: Final = 100 * 366 * 86_400
MOST_AT_ONCE: Final = 100
"""Letters that one request may name."""


class ActRequest(Body):
    """Who wants something done, and why: for the ledger."""

    who: Text = "operator"
    why: Text | None = None

    def asked(self, request: Request) -> Asked:
        """Return who asks: the one whose token was verified, whatever the body says, if there is one."""
        principal = principal_of(request)
        return Asked(self.who if principal is None else principal.subject, self.why)


class ReplayRequest(ActRequest):
    """Who wants the replay, and why. A letter that was replayed maxReplays times is parked instead."""

    max_replays: Annotated[int, Field(ge=1, le=MOST_REPLAYS)] | None = Field(
        None, description="Null: what HANDFAST_MAX_REPLAYS says."
    )
    parked: bool = Field(True, description="Whether the letter is meant even if it is parked.")


class ReplaysRequest(ReplayRequest):
    """Which letters are to be replayed, and what a request for one of them says."""

    letter_ids: Annotated[list[Id], Field(min_length=1, max_length=MOST_AT_ONCE)]


class EditRequest(ActRequest):
    """The value that the record is to have: text or, with valueEncoding, base64."""

    value: str
    value_encoding: Encoding | None = None

    def content(self) -> bytes:
        """Return the value's bytes; raise Refused where it is no base64."""
        if self.value_encoding is None:
            return self.value.encode()
        try:
            return base64.b64decode(self.value, validate=True)
        except (ValueError, binascii.Error) as error:
            raise Refused("invalid-value", f"The new value is no base64: {error}.", 422) from error


class PurgeRequest(ActRequest, Filters):
    """Which letters are to go: the list's filters, and for how long nothing has happened to them.

    Settled and edited ones go. Parked ones go where no decision hangs on them; open ones by force only, and
    under the same condition.
    """

    older_than_seconds: Annotated[int, Field(ge=0, le=MOST_SECONDS)] = 0
    force: bool = Field(False, description="Whether open letters may go too.")
    dry_run: bool = Field(False, description="Say what would go, and delete nothing.")
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = Field(
        DEFAULT_LIMIT, description="How many letters are looked at, at most."
    )
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = Field(
        None, description="Where to go on: the nextCursor of the answer before."
    )


class ReplayResult(View):
    """What became of asking for a replay. skipped: why nothing was published."""

    letter_id: str
    state: LetterState
    replays: int
    skipped: Maybe[ReplayOutcome] = None
    replaced_by: Maybe[str] = Field(None, description="The letter that an edited one was edited into.")


class ReplayAnswer(View):
    """What a request for one letter would have been answered: either a result, or a problem."""

    letter_id: str
    result: Maybe[ReplayResult] = None
    problem: Maybe[Problem] = None


class ReplaysResult(View):
    """An answer for each letter that was named, in that order."""

    items: list[ReplayAnswer]


class ParkingResult(View):
    letter_id: str
    state: LetterState


class EditResult(View):
    """The new letter, and the one that it replaces."""

    letter_id: str
    state: LetterState
    replaces: str


class KeptView(View):
    letter_id: str
    reason: Kept


class PurgeResult(View):
    """The letters that went (or would), those that were looked at and stay, and where to go on."""

    purged: list[str]
    kept: list[KeptView]
    next_cursor: str | None


_REPLAYED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "Nothing was published: `skipped` says why.", "model": ReplayResult},
    202: {"description": "Its record is published again, or was just before.", "model": ReplayResult},
    **declared(404),
}
_EDITED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The same edit was made before.", "model": EditResult},
    201: {
        "description": "The new letter's record is published.",
        "model": EditResult,
        "headers": {"Location": {"description": "The new letter.", "schema": {"type": "string"}}},
    },
    **declared(404, 409),
}


def letter_act_routes(office: LetterOffice, prefix: str) -> APIRouter:
    """Return the routes of all acts, below a prefix."""
    router = APIRouter(prefix=prefix, tags=["dead letters"], route_class=LeanRoute)

    @router.post(
        "/{letter_id}/replays",
        status_code=202,
        responses=_REPLAYED,
        summary="Publish a dead letter's record again",
        openapi_extra=open_to(Role.OPERATOR, act="replay"),
    )
    async def replay_letter(request: Request, letter_id: Id, body: ReplayRequest | None = None) -> Response:
        wanted = body or ReplayRequest()
        outcome, letter = await office.replay(
            letter_id, wanted.asked(request), max_replays=wanted.max_replays, also_parked=wanted.parked
        )
        under_way = outcome in (ReplayOutcome.PUBLISHED, ReplayOutcome.UNDER_WAY)
        return json_answer(_replayed(outcome, letter), 202 if under_way else 200)

    @router.post(
        "/replays",
        response_model=ReplaysResult,
        summary="Publish some dead letters' records again, each as if it were asked for alone",
        openapi_extra=open_to(Role.OPERATOR, act="replay"),
    )
    async def replay_letters(request: Request, body: ReplaysRequest) -> Response:
        answers = await office.replay_each(
            body.letter_ids, body.asked(request), max_replays=body.max_replays, also_parked=body.parked
        )
        items = [_answer(*pair) for pair in zip(body.letter_ids, answers, strict=True)]
        return json_answer(ReplaysResult(items=items))

    @router.post(
        "/{letter_id}/parkings",
        response_model=ParkingResult,
        responses=declared(404, 409),
        summary="Set a dead letter aside: only a replay by its id touches it then",
        openapi_extra=open_to(Role.OPERATOR, act="park"),
    )
    async def park_letter(request: Request, letter_id: Id, body: ActRequest | None = None) -> Response:
        return _parking(await office.park(letter_id, (body or ActRequest()).asked(request)))

    @router.post(
        "/{letter_id}/releases",
        response_model=ParkingResult,
        responses=declared(404, 409),
        summary="Open a parked dead letter again",
        openapi_extra=open_to(Role.OPERATOR, act="release"),
    )
    async def release_letter(request: Request, letter_id: Id, body: ActRequest | None = None) -> Response:
        return _parking(await office.release(letter_id, (body or ActRequest()).asked(request)))

    @router.post(
        "/{letter_id}/edits",
        status_code=201,
        responses=_EDITED,
        summary="Publish a dead letter's record with another value, as a new letter",
        openapi_extra=open_to(Role.OPERATOR, act="edit"),
    )
    async def edit_letter(request: Request, letter_id: Id, body: EditRequest) -> Response:
        letter, is_new = await office.edit(letter_id, body.content(), body.asked(request))
        result = EditResult(letter_id=letter.id, state=letter.state, replaces=letter_id)
        return json_answer(result, 201 if is_new else 200, {"Location": f"{prefix}/{letter.id}"})

    @router.post(
        "/purges",
        response_model=PurgeResult,
        summary="Delete dead letters that nobody needs any more, some at a time",
        openapi_extra=open_to(Role.OPERATOR, act="purge"),
    )
    async def purge_letters(request: Request, body: PurgeRequest) -> Response:
        purged = await office.purge(
            body.selection(),
            body.asked(request),
            quiet_ms=body.older_than_seconds * 1000,
            force=body.force,
            dry_run=body.dry_run,
            after=decode_cursor(body.cursor, int, str),
            limit=body.limit,
        )
        kept = [KeptView(letter_id=letter_id, reason=reason) for letter_id, reason in purged.kept.items()]
        cursor = None if purged.more is None else encode_cursor(*purged.more)
        return json_answer(PurgeResult(purged=purged.gone, kept=kept, next_cursor=cursor))

    return router


def _answer(letter_id: str, answer: tuple[ReplayOutcome, DeadLetter] | HandfastError) -> ReplayAnswer:
    if isinstance(answer, HandfastError):
        return ReplayAnswer(letter_id=letter_id, problem=problem_of(answer))
    return ReplayAnswer(letter_id=letter_id, result=_replayed(*answer))


def _replayed(outcome: ReplayOutcome, letter: DeadLetter) -> ReplayResult:
    return ReplayResult(
        letter_id=letter.id,
        state=letter.state,
        replays=letter.replays,
        skipped=None if outcome is ReplayOutcome.PUBLISHED else outcome,
        replaced_by=letter.replaced_by,
    )


def _parking(letter: DeadLetter) -> Response:
    return json_answer(ParkingResult(letter_id=letter.id, state=letter.state))
