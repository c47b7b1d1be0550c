"""Replays: a dead letter's record is published again, and the ledger says who wanted it, when and why.

The record goes through the outbox in the transaction that marks the letter. A broker may lose it, so a letter
that stays REPLAYING for longer than the patience is published again: when somebody asks, and by itself. One
that was replayed so often that more of the same won't help is parked instead.
"""

from dataclasses import replace
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection

from shared.clock import Millis
from shared.identity import NewId
from shared.messaging.ledger import Act, Asked, replays_since_release, write_down
from shared.messaging.letter_headers import replay_message
from shared.messaging.letters import (
    DeadLetter,
    LetterState,
    find,
    mark_replaying,
    waiting_replays,
)
from shared.messaging.outbox import Outbox
from shared.messaging.parking import park

PATIENCE_MS: Final = 30_000
"""How long a replay is given to be applied before its record is published again."""


class ReplayOutcome(StrEnum):
    """What came of asking for a replay. Nothing was published but where it says so."""

    PUBLISHED = "published"
    UNDER_WAY = "under-way"  # asked for before, and not yet answered
    SETTLED = "settled"  # there is nothing left to apply
    EDITED = "edited"  # another letter took its place
    PARKED = "parked"  # set aside, before or by this: it was replayed too often
    CANCELLED = "cancelled"  # the decision was the other one
    UNDECIDED = "undecided"  # there is no decision to apply yet


def replay(
    connection: Connection,
    letter_id: str,
    *,
    outbox: Outbox,
    now: Millis,
    new_id: NewId,
    asked: Asked,
    patience_ms: Millis = PATIENCE_MS,
    max_replays: int | None = None,
    also_parked: bool = True,
) -> tuple[ReplayOutcome, DeadLetter]:
    """Publish a letter's record again unless that is pointless; raise NotFound for a letter unknown.

    max_replays: a letter that was replayed so often, since it was last released if it ever was, is parked;
    also_parked: whether one that is parked is meant too.
    """
    letter = find(connection, letter_id, lock=True)
    pointless = _pointless(letter, now - patience_ms, also_parked)
    if pointless is not None:
        return pointless, letter
    # The letter's own counter is the upper bound, and spares most letters the look into the ledger.
    if max_replays is not None and letter.replays >= max_replays:
        replayed = replays_since_release(connection, letter_id)
        if replayed >= max_replays:
            reason = {"replays": replayed, "maxReplays": max_replays}
            parked = park(connection, letter_id, asked=asked, now=now, new_id=new_id, details=reason)
            return ReplayOutcome.PARKED, parked
    replays = letter.replays + 1
    mark_replaying(connection, letter.id, replays, now)
    write_down(connection, Act.REPLAY, letter.id, asked, now=now, new_id=new_id)
    outbox.add(connection, [replay_message(letter, replays)])
    return ReplayOutcome.PUBLISHED, replace(
        letter, state=LetterState.REPLAYING, replays=replays, updated_at=now
    )


def publish_lost_replays(
    connection: Connection, *, outbox: Outbox, now: Millis, patience_ms: Millis = PATIENCE_MS, most: int = 100
) -> int:
    """Publish replays again of which nothing was heard (no new ones: the same); return how many."""
    letters = waiting_replays(connection, now - patience_ms, most)
    for letter in letters:
        mark_replaying(connection, letter.id, letter.replays, now)
    outbox.add(connection, [replay_message(letter, letter.replays) for letter in letters])
    return len(letters)


def _pointless(letter: DeadLetter, heard_since: Millis, also_parked: bool) -> ReplayOutcome | None:
    """Return why nothing is to be published, as far as the letter itself tells."""
    if letter.state is LetterState.SETTLED:
        return ReplayOutcome.SETTLED
    if letter.state is LetterState.EDITED:
        return ReplayOutcome.EDITED
    if letter.state is LetterState.PARKED and not also_parked:
        return ReplayOutcome.PARKED
    if letter.state is LetterState.REPLAYING and letter.updated_at > heard_since:
        return ReplayOutcome.UNDER_WAY
    return None
