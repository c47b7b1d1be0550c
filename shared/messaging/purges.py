"""Purges: letters that nobody needs any more are deleted; what they were stays in the ledger.

A letter may be all that is left of a decision, so what hangs on it is asked first (`prospects`), and what is
decided and not yet applied is never deleted, whoever insists.
"""

from collections.abc import Sequence
from enum import StrEnum

from sqlalchemy import Connection, delete

from shared.clock import Millis
from shared.identity import NewId
from shared.messaging.ledger import Act, Asked, write_down
from shared.messaging.letters import CLOSED, LETTER, DeadLetter, LetterState
from shared.messaging.prospects import Prospect


class Kept(StrEnum):
    """Why a letter is not purged."""

    OPEN = "open"  # replay it, or park it; or force
    REPLAYING = "replaying"  # on its way
    DECIDED = "decided"  # decided and not yet applied: nothing else will make it true
    UNDECIDED = "undecided"
    UNKNOWN = "unknown"  # nobody can tell what hangs on it: only force
    UNREACHABLE = "unreachable"  # whoever could tell does not answer
    CHANGED = "changed"  # something happened to it meanwhile


def needs_asking(letter: DeadLetter, force: bool) -> bool:
    """Say whether a letter's prospect decides about its purge."""
    return letter.state is LetterState.PARKED or (force and letter.state is LetterState.OPEN)


def kept_because(letter: DeadLetter, prospect: Prospect | None, force: bool) -> Kept | None:
    """Return why a letter is not to be purged, None where it may be.

    prospect: None where nobody could tell just now, or where it needs no asking.
    """
    if letter.state in CLOSED:
        return None
    if letter.state is LetterState.REPLAYING:
        return Kept.REPLAYING
    if not needs_asking(letter, force):
        return Kept.OPEN
    if prospect is None:
        return Kept.UNREACHABLE
    if prospect is Prospect.UNKNOWN:
        return None if force else Kept.UNKNOWN
    return _BINDING.get(prospect)


_BINDING = {Prospect.DECIDED: Kept.DECIDED, Prospect.UNDECIDED: Kept.UNDECIDED}


def purge(
    connection: Connection, letters: Sequence[DeadLetter], *, asked: Asked, now: Millis, new_id: NewId
) -> list[str]:
    """Delete letters that are as they were read; return the ids of those that went."""
    gone = []
    for letter in letters:
        unchanged = (
            LETTER.c.id == letter.id,
            LETTER.c.state == letter.state.value,
            LETTER.c.updated_at == letter.updated_at,
        )
        if connection.execute(delete(LETTER).where(*unchanged)).rowcount == 0:
            continue
        write_down(
            connection, Act.PURGE, letter.id, asked, now=now, new_id=new_id, details=_remembered(letter)
        )
        gone.append(letter.id)
    return gone


def _remembered(letter: DeadLetter) -> dict[str, str | int | None]:
    return {
        "topic": letter.topic,
        "state": letter.state.value,
        "branchId": letter.branch_id,
        "transactionId": letter.transaction_id,
        "attempts": letter.attempts,
        "replays": letter.replays,
        "exception": letter.failure.type,
    }
