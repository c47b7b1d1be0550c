"""Edits: a letter's record is published with another value, as a new letter that takes the old one's place.

The old letter is kept as EDITED, and each names the other. What the record is about stays: an edit mends how
something is said, and never makes it somebody else's.
"""

import dataclasses
from collections.abc import Callable

from sqlalchemy import Connection

from shared.clock import Millis
from shared.database.port import insert_new
from shared.errors import Refused
from shared.identity import NewId
from shared.messaging.broker import Record
from shared.messaging.ledger import Act, Asked, write_down
from shared.messaging.letter_headers import replay_message
from shared.messaging.letters import (
    CLOSED,
    LETTER,
    DeadLetter,
    LetterState,
    described_failure,
    described_record,
    find,
    move,
)
from shared.messaging.listener import Subject
from shared.messaging.outbox import Outbox
from shared.messaging.parking import closed

Decoder = Callable[[Record], Subject]
"""Says what a record is about; raises where it can't be decoded."""


def subject_of_edit(letter: DeadLetter, value: bytes, decode: Decoder) -> Subject:
    """Return what a letter's record would be about with another value.

    Raises Refused: `invalid-value` where it can't be decoded, `other-branch` where it would be about another
    branch or transaction. What a letter is about that could not be decoded itself, its value may say.
    """
    try:
        subject = decode(dataclasses.replace(letter.record(), value=value))
    except Exception as error:
        detail = f"The new value is none that {letter.topic} carries. {error}"
        raise Refused("invalid-value", detail[:1_000], 422) from error
    was = Subject(letter.branch_id, letter.transaction_id) if letter.branch_id is not None else None
    if was is not None and was != subject:
        raise Refused(
            "other-branch",
            f"The letter is about {_named(was)}, the new value about {_named(subject)}. An edit may not "
            "change that: keep both ids as they are.",
            422,
        )
    return subject


def edit(
    connection: Connection,
    letter_id: str,
    value: bytes,
    subject: Subject,
    *,
    outbox: Outbox,
    asked: Asked,
    now: Millis,
    new_id: NewId,
) -> tuple[DeadLetter, bool]:
    """Publish a letter's record with another value; return the letter that takes its place, and whether it
    is new. subject: from `subject_of_edit`.

    The same edit again changes nothing. Raises NotFound, or Refused: `letter-settled`, `letter-edited` (it
    was, otherwise), `letter-replaying`, `letter-exists` (there is another about the same branch).
    """
    letter = find(connection, letter_id, lock=True)
    if letter.replaced_by is not None:
        successor = find(connection, letter.replaced_by)
        if successor.value == value:
            return successor, False
    if letter.state in CLOSED:
        raise closed(letter)
    if letter.state is LetterState.REPLAYING:
        detail = f"Letter {letter_id} is on its way as it is: see what becomes of it first, or park it."
        raise Refused("letter-replaying", detail)
    successor_id = new_id()
    # The old letter makes room first: of the unsettled ones there is one a subject.
    move(connection, letter_id, LetterState.EDITED, now, replaced_by=successor_id)
    row = {
        **described_record(dataclasses.replace(letter.record(), value=value), subject),
        **described_failure(letter.failure),
        "id": successor_id,
        "state": LetterState.REPLAYING.value,
        "attempts": 0,
        "replays": 1,
        "consumer_group": letter.consumer_group,
        "created_at": now,
        "updated_at": now,
        "failed_at": letter.failed_at,
        "replaces": letter_id,
    }
    if not insert_new(connection, LETTER, row):
        detail = f"Another letter about {_named(subject)} is unsettled: replay or edit that one."
        raise Refused("letter-exists", detail)
    details = {"replacedBy": successor_id}
    write_down(connection, Act.EDIT, letter_id, asked, now=now, new_id=new_id, details=details)
    replayed = {"replaces": letter_id}
    write_down(connection, Act.REPLAY, successor_id, asked, now=now, new_id=new_id, details=replayed)
    successor = find(connection, successor_id)
    outbox.add(connection, [replay_message(successor, successor.replays)])
    return successor, True


def _named(subject: Subject) -> str:
    if subject.transaction_id is None:
        return f"branch {subject.branch_id}"
    return f"branch {subject.branch_id} of transaction {subject.transaction_id}"
