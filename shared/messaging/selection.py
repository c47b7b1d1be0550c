"""Which letters are meant: the filters that every list and every act on many letters takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, select, tuple_

from shared.clock import Millis
from shared.messaging.letters import LETTER, DeadLetter, LetterState, key_digest, letter_of

PAGE_BYTES: Final = 1024 * 1024

Place = tuple[Millis, str]
"""A place in a list: when its letter was written, and the letter's id."""

_IN_ORDER: Final = (LETTER.c.created_at, LETTER.c.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What letters have in common; None: anything will do.

    exception: a class with its module, or its bare name; group: a fingerprint; since and until: when the
    letter was written, the second instant being left out; attempts: so many failed deliveries or more.
    """

    topic: str | None = None
    state: LetterState | None = None
    exception: str | None = None
    group: str | None = None
    key: bytes | None = None
    since: Millis | None = None
    until: Millis | None = None
    attempts: int | None = None
    transaction_id: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the same in SQL."""
        column = LETTER.c
        found: list[ColumnElement[bool]] = []
        equal = (
            (column.topic, self.topic),
            (column.state, None if self.state is None else self.state.value),
            (column.fingerprint, self.group),
            (column.transaction_id, self.transaction_id),
        )
        found += [one == value for one, value in equal if value is not None]
        if self.exception is not None:
            found.append(_is_named(self.exception))
        if self.key is not None:
            found += [column.key_digest == key_digest(self.key), column.key == self.key]
        if self.since is not None:
            found.append(column.created_at >= self.since)
        if self.until is not None:
            found.append(column.created_at < self.until)
        if self.attempts is not None:
            found.append(column.attempts >= self.attempts)
        return found


EVERYTHING: Final = Selection()


@dataclass(frozen=True, slots=True)
class Group:
    """Letters that failed alike. topics, states: how many there are of each; last_seen: the last failure."""

    fingerprint: str
    exception: str
    place: str
    count: int
    topics: dict[str, int]
    states: dict[LetterState, int]
    first_seen: Millis
    last_seen: Millis


def page(
    connection: Connection,
    selection: Selection = EVERYTHING,
    *,
    after: Place | None = None,
    quiet_since: Millis | None = None,
    limit: int,
) -> tuple[list[DeadLetter], bool]:
    """Return letters in the order they were written, those after a place, and whether more follow.

    There are `limit` of them at most, and fewer where they are large: beyond the first, a page's records have
    PAGE_BYTES at most. quiet_since: only letters to which nothing has happened from that instant on.
    """
    statement = select(LETTER).where(*selection.conditions()).order_by(*_IN_ORDER).limit(limit + 1)
    if after is not None:
        statement = statement.where(tuple_(*_IN_ORDER) > after)
    if quiet_since is not None:
        statement = statement.where(LETTER.c.updated_at < quiet_since)
    letters: list[DeadLetter] = []
    size = 0
    rows = connection.execute(statement)
    for row in rows:
        size += len(row.key or b"") + len(row.value or b"") + len(row.headers)
        if len(letters) == limit or (letters and size > PAGE_BYTES):
            rows.close()
            return letters, True
        letters.append(letter_of(row))
    return letters, False


def place_of(letter: DeadLetter) -> Place:
    """Return where a letter stands in a list."""
    return letter.created_at, letter.id


def groups(
    connection: Connection, selection: Selection = EVERYTHING, *, after: str | None = None, limit: int
) -> tuple[list[Group], bool]:
    """Return the groups of the selected letters by fingerprint, those after one, and whether more follow."""
    column = LETTER.c
    conditions = selection.conditions()
    if after is not None:
        conditions.append(column.fingerprint > after)
    named = select(column.fingerprint).distinct().where(*conditions)
    fingerprints = connection.execute(named.order_by(column.fingerprint).limit(limit + 1)).scalars().all()
    kinds = (column.fingerprint, column.exception_type, column.place, column.topic, column.state)
    counted = (
        select(
            *kinds,
            func.count().label("letters"),
            func.min(column.created_at).label("first_seen"),
            func.max(column.failed_at).label("last_seen"),
        )
        .where(*conditions, column.fingerprint.in_(fingerprints[:limit]))
        .group_by(*kinds)
        .order_by(*kinds)
    )
    parts: dict[str, list[Any]] = {}
    for row in connection.execute(counted):
        parts.setdefault(row.fingerprint, []).append(row)
    return [_group(fingerprint, rows) for fingerprint, rows in parts.items()], len(fingerprints) > limit


def _group(fingerprint: str, rows: Sequence[Any]) -> Group:
    topics: dict[str, int] = {}
    states: dict[LetterState, int] = {}
    for row in rows:
        topics[row.topic] = topics.get(row.topic, 0) + row.letters
        state = LetterState(row.state)
        states[state] = states.get(state, 0) + row.letters
    return Group(
        fingerprint=fingerprint,
        exception=rows[0].exception_type,
        place=rows[0].place,
        count=sum(row.letters for row in rows),
        topics=topics,
        states=states,
        first_seen=min(row.first_seen for row in rows),
        last_seen=max(row.last_seen for row in rows),
    )


def _is_named(exception: str) -> ColumnElement[bool]:
    column: ColumnElement[str] = LETTER.c.exception_type
    if "." in exception:
        return column == exception
    return column.endswith(f".{exception}", autoescape=True)
