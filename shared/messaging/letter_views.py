"""Dead letters as the REST interface shows them: bytes as text or base64, secrets out unless asked for."""

import base64
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from shared.clock import iso
from shared.http.model import Maybe, View
from shared.messaging.broker import Headers
from shared.messaging.ledger import Act, LedgerLine
from shared.messaging.letters import DeadLetter, LetterState, Standing
from shared.messaging.redaction import Redactor
from shared.messaging.selection import Group

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
    place: str = Field(description="Where it was raised: file and function. Empty where it never was.")


class ReplayView(View):
    """A replay, as the ledger has it."""

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
    redacted: Maybe[Literal[True]] = Field(None, description="Set where secrets were taken out (`***`).")
    exception: ExceptionView
    group: str = Field(description="The fingerprint of the exception's type and place.")
    attempts: int
    replays: int
    state: LetterState
    transaction_id: str | None
    branch_id: str | None
    consumer_group: str
    created_at: str
    updated_at: str
    failed_at: str
    replaces: Maybe[str] = Field(None, description="The letter that was edited into this one.")
    replaced_by: Maybe[str] = Field(None, description="The letter that this one was edited into.")


class LetterDetails(LetterView):
    """A letter with its stack trace and its latest replays."""

    stack_trace: str = Field(description="Capped and redacted.")
    replayed: list[ReplayView]


class StandingView(View):
    """How it stands with a letter: what is asked often, in few words. exception: of its latest failure."""

    letter_id: str
    state: LetterState
    replays: int
    exception: ExceptionView
    replaced_by: Maybe[str] = Field(None, description="The letter that this one was edited into.")


class StandingsView(View):
    """The letters that were asked about; what there is none of is left out."""

    items: list[StandingView]


class GroupView(View):
    """Letters that failed alike."""

    group: str
    exception: str
    place: str
    count: int
    topics: dict[str, int] = Field(description="How many there are of each topic.")
    states: dict[LetterState, int] = Field(description="How many there are in each state.")
    first_seen: str
    last_seen: str = Field(description="The last failure.")


class ActView(View):
    """A line of the ledger."""

    act_id: str
    letter_id: str
    act: Act
    at: str
    who: str
    why: Maybe[str] = None
    details: Maybe[dict[str, Any]] = None


def letter_view(letter: DeadLetter, redactor: Redactor | None) -> LetterView:
    """Show a letter. redactor: None shows its record as it is."""
    return LetterView(**_fields(letter, redactor))


def letter_details(
    letter: DeadLetter, lines: Sequence[LedgerLine], redactor: Redactor | None
) -> LetterDetails:
    """Show a letter with all that is known of it."""
    replayed = [ReplayView(replay_id=line.id, at=iso(line.at), who=line.who, why=line.why) for line in lines]
    fields = _fields(letter, redactor)
    return LetterDetails(**fields, stack_trace=letter.failure.stack_trace, replayed=replayed)


def standing_view(standing: Standing) -> StandingView:
    """Show how it stands with a letter."""
    return StandingView(
        letter_id=standing.id,
        state=standing.state,
        replays=standing.replays,
        exception=ExceptionView(
            type=standing.exception_type,
            cause=standing.exception_cause,
            message=standing.exception_message,
            place=standing.place,
        ),
        replaced_by=standing.replaced_by,
    )


def group_view(group: Group) -> GroupView:
    """Show a group."""
    return GroupView(
        group=group.fingerprint,
        exception=group.exception,
        place=group.place,
        count=group.count,
        topics=group.topics,
        states=group.states,
        first_seen=iso(group.first_seen),
        last_seen=iso(group.last_seen),
    )


def act_view(line: LedgerLine) -> ActView:
    """Show a line of the ledger."""
    return ActView(
        act_id=line.id,
        letter_id=line.letter_id,
        act=line.act,
        at=iso(line.at),
        who=line.who,
        why=line.why,
        details=None if line.details is None else dict(line.details),
    )


def _fields(letter: DeadLetter, redactor: Redactor | None) -> dict[str, Any]:
    shown_key = _redacted(letter.key, redactor)
    shown_value = _redacted(letter.value, redactor)
    shown_headers = tuple((name, _redacted_header(name, value, redactor)) for name, value in letter.headers)
    key, key_encoding = _text(shown_key)
    value, value_encoding = _text(shown_value)
    untouched = (shown_key, shown_value, shown_headers) == (letter.key, letter.value, letter.headers)
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
        "headers": _header_views(shown_headers),
        "redacted": None if untouched else True,
        "exception": ExceptionView(
            type=failure.type, cause=failure.cause, message=failure.message, place=failure.place
        ),
        "group": failure.fingerprint,
        "attempts": letter.attempts,
        "replays": letter.replays,
        "state": letter.state,
        "transaction_id": letter.transaction_id,
        "branch_id": letter.branch_id,
        "consumer_group": letter.consumer_group,
        "created_at": iso(letter.created_at),
        "updated_at": iso(letter.updated_at),
        "failed_at": iso(letter.failed_at),
        "replaces": letter.replaces,
        "replaced_by": letter.replaced_by,
    }


def _header_views(headers: Headers) -> list[HeaderView]:
    views = []
    for name, content in headers:
        value, encoding = _text(content)
        assert value is not None
        views.append(HeaderView(name=name, value=value, encoding=encoding))
    return views


def _redacted(content: bytes | None, redactor: Redactor | None) -> bytes | None:
    """Take secrets out of bytes, whether they are text or not; what has none stays as it is."""
    if content is None or redactor is None:
        return content
    encoding = "utf-8" if _is_text(content) else "latin-1"
    return redactor(content.decode(encoding)).encode(encoding)


def _redacted_header(name: str, value: bytes, redactor: Redactor | None) -> bytes:
    """Take secrets out of a header, which its name may betray."""
    if redactor is None:
        return value
    named = f"{name}: ".encode()
    shown = _redacted(named + value, redactor)
    assert shown is not None
    return shown.removeprefix(named) if shown.startswith(named) else b"***"


def _text(content: bytes | None) -> tuple[str | None, Encoding | None]:
    """Write bytes as text, or as base64 where they are none."""
    if content is None:
        return None, None
    if _is_text(content):
        return content.decode("utf-8"), None
    return base64.b64encode(content).decode(), "base64"


def _is_text(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
