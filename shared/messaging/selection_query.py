"""Which letters are meant, as the REST interface takes it: the same filters in a query and in a body."""

from typing import Annotated, Final

from fastapi import Depends, Query
from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema

from shared.clock import Millis, from_iso
from shared.http.model import Body
from shared.identity import Id
from shared.messaging.letters import LetterState
from shared.messaging.selection import Selection


def _instant(text: str) -> str:
    from_iso(text)
    return text


Topic = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
Exception_ = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_<][A-Za-z0-9_.<>]{0,499}$")]
Group = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Key = Annotated[str, StringConstraints(max_length=1_000)]
Attempts = Annotated[int, Field(ge=1, le=1_000_000_000)]
Instant = Annotated[str, AfterValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]

ABOUT: Final = {
    "topic": "Only letters of this topic.",
    "state": "Only letters in this state.",
    "exception": "Only those that failed with this exception: a class with its module, or its bare name.",
    "group": "Only those of this group.",
    "key": "Only those whose record has this key, which is text.",
    "since": "Only those written at or after this instant.",
    "until": "Only those written before this instant.",
    "attempts": "Only those that failed so often or more.",
    "transactionId": "Only those of this transaction.",
}


class Filters(Body):
    """What the letters that are meant have in common; null: anything will do."""

    topic: Topic | None = Field(None, description=ABOUT["topic"])
    state: LetterState | None = Field(None, description=ABOUT["state"])
    exception: Exception_ | None = Field(None, description=ABOUT["exception"])
    group: Group | None = Field(None, description=ABOUT["group"])
    key: Key | None = Field(None, description=ABOUT["key"])
    since: Instant | None = Field(None, description=ABOUT["since"])
    until: Instant | None = Field(None, description=ABOUT["until"])
    attempts: Attempts | None = Field(None, description=ABOUT["attempts"])
    transaction_id: Id | None = Field(None, description=ABOUT["transactionId"])

    def selection(self) -> Selection:
        return Selection(
            topic=self.topic,
            state=self.state,
            exception=self.exception,
            group=self.group,
            key=None if self.key is None else self.key.encode(),
            since=millis(self.since),
            until=millis(self.until),
            attempts=self.attempts,
            transaction_id=self.transaction_id,
        )


def millis(instant: str | None) -> Millis | None:
    """Return an instant that was taken as Instant."""
    return None if instant is None else from_iso(instant)


async def _selected(
    topic: Annotated[Topic | None, Query(description=ABOUT["topic"])] = None,
    state: Annotated[LetterState | None, Query(description=ABOUT["state"])] = None,
    exception: Annotated[Exception_ | None, Query(description=ABOUT["exception"])] = None,
    group: Annotated[Group | None, Query(description=ABOUT["group"])] = None,
    key: Annotated[Key | None, Query(description=ABOUT["key"])] = None,
    since: Annotated[Instant | None, Query(description=ABOUT["since"])] = None,
    until: Annotated[Instant | None, Query(description=ABOUT["until"])] = None,
    attempts: Annotated[Attempts | None, Query(description=ABOUT["attempts"])] = None,
    transaction_id: Annotated[
        Id | None, Query(alias="transactionId", description=ABOUT["transactionId"])
    ] = None,
) -> Selection:
    return Filters(
        topic=topic,
        state=state,
        exception=exception,
        group=group,
        key=key,
        since=since,
        until=until,
        attempts=attempts,
        transaction_id=transaction_id,
    ).selection()


Selected = Annotated[Selection, Depends(_selected)]
"""A query's filters, as a route takes them."""
