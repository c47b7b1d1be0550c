"""Parking: a letter is set aside, so that nothing replays it but somebody who names it, and released again.

A parked letter is as unsettled as any other: its record is applied all the same if it comes again.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from shared.clock import Millis
from shared.errors import Refused
from shared.identity import NewId
from shared.messaging.ledger import Act, Asked, write_down
from shared.messaging.letters import CLOSED, DeadLetter, LetterState, find, move


def park(
    connection: Connection,
    letter_id: str,
    *,
    asked: Asked,
    now: Millis,
    new_id: NewId,
    details: Mapping[str, Any] | None = None,
) -> DeadLetter:
    """Set a letter aside; again changes nothing. Raises NotFound, or Refused where it is closed.

    A replay that is on its way is not called back: it settles the letter, or leaves it parked.
    """
    letter = find(connection, letter_id, lock=True)
    if letter.state is LetterState.PARKED:
        return letter
    if letter.state in CLOSED:
        raise closed(letter)
    move(connection, letter_id, LetterState.PARKED, now)
    write_down(connection, Act.PARK, letter_id, asked, now=now, new_id=new_id, details=details)
    return find(connection, letter_id)


def release(
    connection: Connection, letter_id: str, *, asked: Asked, now: Millis, new_id: NewId
) -> DeadLetter:
    """Open a parked letter again, with all its replays before it; where it isn't parked, change nothing.

    Raises NotFound, or Refused where it is closed.
    """
    letter = find(connection, letter_id, lock=True)
    if letter.state in CLOSED:
        raise closed(letter)
    if letter.state is LetterState.PARKED:
        move(connection, letter_id, LetterState.OPEN, now)
        write_down(connection, Act.RELEASE, letter_id, asked, now=now, new_id=new_id)
    return find(connection, letter_id)


def closed(letter: DeadLetter) -> Refused:
    """Return the refusal of an act on a letter that is settled or edited."""
    if letter.state is LetterState.EDITED:
        return Refused(
            "letter-edited",
            f"Letter {letter.id} was edited: letter {letter.replaced_by} took its place. Use that one.",
            replacedBy=letter.replaced_by,
        )
    return Refused("letter-settled", f"Letter {letter.id} is settled: there is nothing left to do about it.")
