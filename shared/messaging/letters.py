"""Dead letters: records that could not be applied, kept in the failing service's own database.

A letter is OPEN until its record is applied: by a replay (REPLAYING meanwhile) or because the record came
again and went through; then it is SETTLED. One that is PARKED is left alone by everything but a replay by its
id; one that is EDITED has a successor with another value, which stands for its record from then on. At most
one letter per topic and branch is unsettled; what can't be decoded counts by a hash of its bytes. A repeat
raises the counters.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Index, LargeBinary, case, delete, select, text, update
from sqlmodel import Field, SQLModel

from shared.clock import Millis
from shared.database.port import insert_new, table_of
from shared.errors import NotFound
from shared.identity import NewId
from shared.messaging.broker import Headers, Record
from shared.messaging.failure import PLACE_LIMIT, Failure
from shared.messaging.listener import Subject
from shared.messaging.outbox import decode_headers, encode_headers

LETTER_ID_HEADER: Final = "handfast-letter-id"
ATTEMPTS_HEADER: Final = "handfast-attempts"
REPLAYS_HEADER: Final = "handfast-replays"
OWN_HEADERS: Final = frozenset({LETTER_ID_HEADER, ATTEMPTS_HEADER, REPLAYS_HEADER})


class LetterState(StrEnum):
    OPEN = "OPEN"  # -> REPLAYING, PARKED, EDITED, SETTLED
    REPLAYING = "REPLAYING"  # published again, not yet applied -> OPEN, PARKED, SETTLED
    PARKED = "PARKED"  # set aside until somebody asks for it -> OPEN, REPLAYING, EDITED, SETTLED
    EDITED = "EDITED"  # another letter took its place
    SETTLED = "SETTLED"  # applied


CLOSED: Final = (LetterState.EDITED, LetterState.SETTLED)
UNSETTLED: Final = text("state NOT IN ('EDITED', 'SETTLED')")
SETTLED: Final = text("state NOT IN ('OPEN', 'REPLAYING', 'PARKED')")
"""Spelled as in the indexes' own conditions: with bound parameters SQLite would not use them, and said with
IN instead of NOT IN it would take the index by state."""


class Letter(SQLModel, table=True):
    """The failure table. Instants are milliseconds since the epoch."""

    __tablename__ = "letter"
    __table_args__ = (
        Index(
            "letter_unsettled",
            "topic",
            "subject",
            unique=True,
            sqlite_where=UNSETTLED,
            postgresql_where=UNSETTLED,
        ),
        # Lists are in the order in which letters were written, whatever they are narrowed down by.
        Index("letter_by_time", "created_at", "id"),
        Index("letter_by_state", "state", "created_at", "id"),
        Index("letter_by_topic", "topic", "created_at", "id"),
        Index("letter_by_group", "fingerprint", "created_at", "id"),
        Index("letter_by_exception", "exception_type", "created_at", "id"),
        Index("letter_by_transaction", "transaction_id", "created_at", "id"),
        Index("letter_by_key", "key_digest", "created_at", "id"),
        # What goes once its retention is over.
        Index("letter_settled", "updated_at", "id", sqlite_where=SETTLED, postgresql_where=SETTLED),
    )

    id: str = Field(primary_key=True, max_length=64)
    topic: str = Field(max_length=249)
    subject: str = Field(max_length=80)  # branch:<id> or sha256:<hash>
    branch_id: str | None = Field(default=None, max_length=64)
    transaction_id: str | None = Field(default=None, max_length=64)
    state: str = Field(max_length=10)
    partition_number: int
    record_offset: int = Field(sa_type=BigInteger)
    timestamp: int = Field(sa_type=BigInteger)
    timestamp_type: int
    key: bytes | None = Field(default=None, sa_type=LargeBinary)
    value: bytes | None = Field(default=None, sa_type=LargeBinary)
    headers: bytes = Field(sa_type=LargeBinary)
    exception_type: str = Field(max_length=500)
    exception_cause: str = Field(max_length=500)
    exception_message: str
    stack_trace: str
    attempts: int  # deliveries that failed, repeats and replays included
    replays: int = 0
    consumer_group: str = Field(max_length=249)
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)
    failed_at: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": "0"})  # the last time
    fingerprint: str = Field(max_length=16, sa_column_kwargs={"server_default": ""})
    place: str = Field(max_length=PLACE_LIMIT, sa_column_kwargs={"server_default": ""})
    key_digest: str | None = Field(default=None, max_length=16)  # a key may be too long for an index
    replaces: str | None = Field(default=None, max_length=64)  # the letter whose value was edited into this
    replaced_by: str | None = Field(default=None, max_length=64)


LETTER: Final = table_of(Letter)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A letter as read."""

    id: str
    topic: str
    partition: int
    offset: int
    timestamp: Millis
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    failure: Failure
    attempts: int
    replays: int
    state: LetterState
    branch_id: str | None
    transaction_id: str | None
    consumer_group: str
    created_at: Millis
    updated_at: Millis
    failed_at: Millis
    replaces: str | None
    replaced_by: str | None

    def record(self) -> Record:
        """Return the record as it came, but for the letter's own headers."""
        return Record(
            self.topic,
            self.partition,
            self.offset,
            self.timestamp,
            self.timestamp_type,
            self.key,
            self.value,
            self.headers,
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with a letter: what is asked often, read without its record and its stack trace."""

    id: str
    state: LetterState
    replays: int
    exception_type: str
    exception_cause: str
    exception_message: str
    place: str
    replaced_by: str | None


def keep(
    connection: Connection,
    record: Record,
    *,
    subject: Subject | None,
    failure: Failure,
    attempts: int,
    group: str,
    now: Millis,
    new_id: NewId,
) -> DeadLetter:
    """Keep a record that could not be applied: a new letter, or the unsettled one of its subject, open again.

    One that is parked stays so.
    subject: None where the record can't be decoded; attempts: deliveries that failed this time.
    """
    described = {**described_failure(failure), "failed_at": now, "updated_at": now}
    row = {
        **described_record(record, subject),
        "id": new_id(),
        "state": LetterState.OPEN.value,
        "attempts": attempts,
        "replays": 0,
        "consumer_group": group,
        "created_at": now,
        **described,
    }
    unsettled = (LETTER.c.topic == record.topic, LETTER.c.subject == row["subject"], UNSETTLED)
    parked = LETTER.c.state == LetterState.PARKED.value
    raised = {
        "state": case((parked, LetterState.PARKED.value), else_=LetterState.OPEN.value),
        "attempts": LETTER.c.attempts + attempts,
        **described,
    }
    # Where several write at once, the one that was there may be settled before it is raised: then it is a
    # new letter after all.
    while not insert_new(connection, LETTER, row):
        if connection.execute(update(LETTER).where(*unsettled).values(**raised)).rowcount:
            break
    return letter_of(connection.execute(select(LETTER).where(*unsettled)).one())


def described_failure(failure: Failure) -> dict[str, Any]:
    """Return the columns that say what went wrong."""
    return {
        "exception_type": failure.type[:500],
        "exception_cause": failure.cause[:500],
        "exception_message": failure.message,
        "stack_trace": failure.stack_trace,
        "fingerprint": failure.fingerprint,
        "place": failure.place,
    }


def described_record(record: Record, subject: Subject | None) -> dict[str, Any]:
    """Return the columns that keep a record. subject: None where it can't be decoded."""
    return {
        "topic": record.topic,
        "subject": _subject_name(record, subject),
        "branch_id": subject.branch_id if subject else None,
        "transaction_id": subject.transaction_id if subject else None,
        "partition_number": record.partition,
        "record_offset": record.offset,
        "timestamp": record.timestamp,
        "timestamp_type": record.timestamp_type,
        "key": record.key,
        "key_digest": None if record.key is None else key_digest(record.key),
        "value": record.value,
        "headers": encode_headers(original_headers(record.headers)),
    }


def key_digest(key: bytes) -> str:
    """Return what a record's key is found by: sixteen hexadecimal digits."""
    return hashlib.sha256(key).hexdigest()[:16]


def settle(connection: Connection, topic: str, branch_ids: Collection[str], now: Millis) -> int:
    """Settle the letters of branches whose record was applied; return how many there were."""
    if not branch_ids:
        return 0
    statement = update(LETTER).where(
        LETTER.c.topic == topic,
        LETTER.c.subject.in_([_branch_name(branch_id) for branch_id in branch_ids]),
        UNSETTLED,
    )
    return connection.execute(statement.values(state=LetterState.SETTLED.value, updated_at=now)).rowcount


def settle_by_id(connection: Connection, letter_ids: Collection[str], now: Millis) -> int:
    """Settle letters of which it is known that their record was applied; return how many there were."""
    if not letter_ids:
        return 0
    statement = update(LETTER).where(LETTER.c.id.in_(list(letter_ids)), UNSETTLED)
    return connection.execute(statement.values(state=LetterState.SETTLED.value, updated_at=now)).rowcount


def topics_with_letters(connection: Connection) -> frozenset[str]:
    """Return the topics that have a letter which is not settled."""
    return frozenset(connection.execute(select(LETTER.c.topic).distinct().where(UNSETTLED)).scalars())


def branches_with_letters(connection: Connection, topic: str, branch_ids: Collection[str]) -> frozenset[str]:
    """Return those of some branches that have a letter of this topic which is not settled."""
    lettered = select(LETTER.c.branch_id).where(LETTER.c.topic == topic, UNSETTLED)
    if not branch_ids or connection.execute(lettered.limit(1)).first() is None:
        return frozenset()
    names = [_branch_name(branch_id) for branch_id in branch_ids]
    return frozenset(connection.execute(lettered.where(LETTER.c.subject.in_(names))).scalars())


def find(connection: Connection, letter_id: str, *, lock: bool = False) -> DeadLetter:
    """Return a letter; raise NotFound where there is none. lock: hold its row until the commit."""
    statement = select(LETTER).where(LETTER.c.id == letter_id)
    row = connection.execute(statement.with_for_update() if lock else statement).one_or_none()
    if row is None:
        raise NotFound(f"There is no dead letter {letter_id}.", "unknown-letter")
    return letter_of(row)


def standings(connection: Connection, letter_ids: Collection[str]) -> list[Standing]:
    """Return how it stands with those of some letters that there are."""
    column = LETTER.c
    failure = (column.exception_type, column.exception_cause, column.exception_message, column.place)
    wanted = select(column.id, column.state, column.replays, *failure, column.replaced_by)
    statement = wanted.where(column.id.in_(list(letter_ids))).order_by(column.id)
    return [
        Standing(letter_id, LetterState(state), *rest)
        for letter_id, state, *rest in connection.execute(statement)
    ]


def waiting_replays(connection: Connection, before: Millis, most: int) -> list[DeadLetter]:
    """Return letters in REPLAYING of which nothing was heard since `before`, oldest first.

    Their rows are held until the commit; what others hold is theirs to look after.
    """
    statement = (
        select(LETTER)
        .where(LETTER.c.state == LetterState.REPLAYING.value, LETTER.c.updated_at < before)
        .order_by(LETTER.c.updated_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return [letter_of(row) for row in connection.execute(statement)]


def mark_replaying(connection: Connection, letter_id: str, replays: int, now: Millis) -> None:
    """Note that a letter's record is on its way again."""
    move(connection, letter_id, LetterState.REPLAYING, now, replays=replays)


def move(connection: Connection, letter_id: str, state: LetterState, now: Millis, **changes: Any) -> None:
    """Put a letter whose row this transaction holds into another state."""
    values = {"state": state.value, "updated_at": now, **changes}
    connection.execute(update(LETTER).where(LETTER.c.id == letter_id).values(**values))


def prune(connection: Connection, before: Millis, most: int) -> int:
    """Delete up to `most` letters settled or edited before an instant, the oldest first; return how many.

    The ledger keeps what was done about them.
    """
    old = (
        select(LETTER.c.id)
        .where(SETTLED, LETTER.c.updated_at < before)
        .order_by(LETTER.c.updated_at, LETTER.c.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.execute(old).scalars())
    if ids:
        connection.execute(delete(LETTER).where(LETTER.c.id.in_(ids)))
    return len(ids)


def original_headers(headers: Headers) -> Headers:
    """Return a record's headers without those that a letter adds itself."""
    return tuple((name, value) for name, value in headers if name not in OWN_HEADERS)


def replayed_letters(records: Sequence[Record]) -> set[str]:
    """Return the ids of the letters whose replays are among the records."""
    marks = (record.header(LETTER_ID_HEADER) for record in records if record.headers)
    return {mark.decode("utf-8", "replace") for mark in marks if mark is not None}


def letter_of(row: Any) -> DeadLetter:
    """Read a row of the letter table."""
    return DeadLetter(
        id=row.id,
        topic=row.topic,
        partition=row.partition_number,
        offset=row.record_offset,
        timestamp=row.timestamp,
        timestamp_type=row.timestamp_type,
        key=row.key,
        value=row.value,
        headers=decode_headers(row.headers),
        failure=Failure(row.exception_type, row.exception_cause, row.exception_message, row.stack_trace),
        attempts=row.attempts,
        replays=row.replays,
        state=LetterState(row.state),
        branch_id=row.branch_id,
        transaction_id=row.transaction_id,
        consumer_group=row.consumer_group,
        created_at=row.created_at,
        updated_at=row.updated_at,
        failed_at=row.failed_at,
        replaces=row.replaces,
        replaced_by=row.replaced_by,
    )


def _subject_name(record: Record, subject: Subject | None) -> str:
    if subject is not None:
        return _branch_name(subject.branch_id)
    digest = hashlib.sha256()
    for part in (record.key, record.value):
        # Lengths keep (b"ab", b"c") apart from (b"a", b"bc"), and null apart from empty.
        digest.update(b"-" if part is None else b"%d:" % len(part) + part)
    return f"sha256:{digest.hexdigest()}"


def _branch_name(branch_id: str) -> str:
    return f"branch:{branch_id}"
