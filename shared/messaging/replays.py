"""Replays: a dead letter's record is published again, and the ledger says who wanted it, when and why.

The record goes through the outbox in the transaction that marks the letter. A broker may lose it, so a letter
that stays REPLAYING for longer than the patience is published again: when somebody asks, and by itself.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, select

from shared.clock import Millis
from shared.identity import NewId
from shared.messaging.letter_headers import replay_message
from shared.messaging.letters import (
    REPLAY,
    DeadLetter,
    LetterState,
    find,
    mark_replaying,
    waiting_replays,
)
from shared.messaging.outbox import Outbox

PATIENCE_MS: Final = 30_000
"""How long a replay is given to be applied before its record is published again."""


class ReplayOutcome(StrEnum):
    """What came of asking for a replay."""

    PUBLISHED = "published"
    UNDER_WAY = "under-way"  # asked for before, and not yet answered: nothing was published
    SETTLED = "settled"  # there is nothing left to apply


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """One replay that was asked for."""

    id: str
    letter_id: str
    at: Millis
    who: str
    why: str | None


def replay(
    connection: Connection,
    letter_id: str,
    *,
    outbox: Outbox,
    now: Millis,
    new_id: NewId,
    who: str,
    why: str | None = None,
    patience_ms: Millis = PATIENCE_MS,
) -> tuple[ReplayOutcome, DeadLetter]:
    """Publish a letter's record again unless that is pointless; raise NotFound for a letter unknown."""
    letter = find(connection, letter_id, lock=True)
    if letter.state is LetterState.SETTLED:
        return ReplayOutcome.SETTLED, letter
    if letter.state is LetterState.REPLAYING and now - letter.updated_at < patience_ms:
        return ReplayOutcome.UNDER_WAY, letter
    replays = letter.replays + 1
    mark_replaying(connection, letter.id, replays, now)
    line = {"id": new_id(), "letter_id": letter.id, "at": now, "who": who, "why": why}
    connection.execute(REPLAY.insert(), line)
    outbox.add(connection, [replay_message(letter, replays)])
    return ReplayOutcome.PUBLISHED, find(connection, letter_id)


def publish_lost_replays(
    connection: Connection, *, outbox: Outbox, now: Millis, patience_ms: Millis = PATIENCE_MS, most: int = 100
) -> int:
    """Publish replays again of which nothing was heard (no new ones: the same); return how many."""
    letters = waiting_replays(connection, now - patience_ms, most)
    for letter in letters:
        mark_replaying(connection, letter.id, letter.replays, now)
    outbox.add(connection, [replay_message(letter, letter.replays) for letter in letters])
    return len(letters)


def ledger(connection: Connection, letter_id: str) -> list[LedgerLine]:
    """Return a letter's replays, oldest first."""
    rows = connection.execute(select(REPLAY).where(REPLAY.c.letter_id == letter_id).order_by(REPLAY.c.id))
    return [LedgerLine(row.id, row.letter_id, row.at, row.who, row.why) for row in rows]
