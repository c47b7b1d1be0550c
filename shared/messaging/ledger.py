"""The ledger: what people, and the replayer, did to dead letters: who, when and why.

Every act is a line, written in the transaction that carries it out. Lines outlive the letters that they are
about, so that what was purged can still be accounted for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Index, func, select, tuple_
from sqlmodel import Field, SQLModel

from shared.clock import Millis
from shared.database.port import table_of
from shared.identity import NewId


class Act(StrEnum):
    """What was done to a letter."""

    REPLAY = "replay"
    PARK = "park"
    RELEASE = "release"
    EDIT = "edit"
    PURGE = "purge"


class LetterAct(SQLModel, table=True):
    """One line. at: milliseconds since the epoch; details: JSON of what else is worth knowing."""

    __tablename__ = "letter_act"
    __table_args__ = (
        Index("letter_act_by_letter", "letter_id", "at", "id"),
        Index("letter_act_by_time", "at", "id"),
    )

    id: str = Field(primary_key=True, max_length=64)
    letter_id: str = Field(max_length=64)
    act: str = Field(max_length=10)
    at: int = Field(sa_type=BigInteger)
    who: str = Field(max_length=200)
    why: str | None = Field(default=None, max_length=500)
    details: str | None = None


LEDGER: Final = table_of(LetterAct)
_IN_ORDER: Final = (LEDGER.c.at, LEDGER.c.id)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who wants something done, and why."""

    who: str
    why: str | None = None


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """One act as read."""

    id: str
    letter_id: str
    act: Act
    at: Millis
    who: str
    why: str | None
    details: Mapping[str, Any] | None


def write_down(
    connection: Connection,
    act: Act,
    letter_id: str,
    asked: Asked,
    *,
    now: Millis,
    new_id: NewId,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Add a line about a letter."""
    line = {
        "id": new_id(),
        "letter_id": letter_id,
        "act": act.value,
        "at": now,
        "who": asked.who,
        "why": asked.why,
        "details": None if details is None else json.dumps(details),
    }
    connection.execute(LEDGER.insert(), line)


def history(
    connection: Connection,
    *,
    letter_id: str | None = None,
    act: Act | None = None,
    since: Millis | None = None,
    until: Millis | None = None,
    after: tuple[Millis, str] | None = None,
    limit: int,
) -> tuple[list[LedgerLine], bool]:
    """Return lines, oldest first, those after an instant and an id, and whether more follow.

    since and until: instants, the second of which is left out.
    """
    statement = select(LEDGER).order_by(*_IN_ORDER).limit(limit + 1)
    if letter_id is not None:
        statement = statement.where(LEDGER.c.letter_id == letter_id)
    if act is not None:
        statement = statement.where(LEDGER.c.act == act.value)
    if since is not None:
        statement = statement.where(LEDGER.c.at >= since)
    if until is not None:
        statement = statement.where(LEDGER.c.at < until)
    if after is not None:
        statement = statement.where(tuple_(*_IN_ORDER) > after)
    rows = connection.execute(statement).all()
    return [_line_of(row) for row in rows[:limit]], len(rows) > limit


def replays_of(connection: Connection, letter_id: str, most: int = 100) -> list[LedgerLine]:
    """Return a letter's latest replays, oldest first."""
    statement = (
        select(LEDGER)
        .where(LEDGER.c.letter_id == letter_id, LEDGER.c.act == Act.REPLAY.value)
        .order_by(*(column.desc() for column in _IN_ORDER))
        .limit(most)
    )
    return [_line_of(row) for row in reversed(connection.execute(statement).all())]


def replays_since_release(connection: Connection, letter_id: str) -> int:
    """Return how often a letter was replayed since it was last released from parking, or ever."""
    released = (
        select(LEDGER.c.at, LEDGER.c.id)
        .where(LEDGER.c.letter_id == letter_id, LEDGER.c.act == Act.RELEASE.value)
        .order_by(*(column.desc() for column in _IN_ORDER))
        .limit(1)
    )
    counted = (
        select(func.count())
        .select_from(LEDGER)
        .where(LEDGER.c.letter_id == letter_id, LEDGER.c.act == Act.REPLAY.value)
    )
    last = connection.execute(released).one_or_none()
    if last is not None:
        counted = counted.where(tuple_(*_IN_ORDER) > tuple(last))
    return int(connection.execute(counted).scalar_one())


def _line_of(row: Any) -> LedgerLine:
    details = None if row.details is None else json.loads(row.details)
    return LedgerLine(row.id, row.letter_id, Act(row.act), row.at, row.who, row.why, details)
