"""The protocol as data: phases, states, and one total table that says what a participant does.

`VERDICTS` is the whole of it. Every door (HTTP, Kafka, sweeper) ends in a look at that table; a test holds
that no pair of state and phase is missing. The table is tied to the model in docs/protocol.md.
"""

from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    TRY = "try"
    CONFIRM = "confirm"
    CANCEL = "cancel"


class State(StrEnum):
    """What a participant knows of a branch."""

    ABSENT = "ABSENT"  # no fence row
    TRYING = "TRYING"  # an external effect of Try is under way -> TRIED, CANCELLED
    TRIED = "TRIED"  # held -> CONFIRMING, CONFIRMED, CANCELLING, CANCELLED
    CONFIRMING = "CONFIRMING"  # decided, not yet applied -> CONFIRMED
    CONFIRMED = "CONFIRMED"  # kept for good
    CANCELLING = "CANCELLING"  # an external effect is being undone -> CANCELLED
    CANCELLED = "CANCELLED"  # let go, refused, or never tried (a tombstone)


HOLDING: Final = frozenset({State.TRYING, State.TRIED, State.CONFIRMING, State.CANCELLING})
"""In these what a branch claims is held; in CONFIRMED it is kept, in the others it is free."""


class Verdict(StrEnum):
    """What to do about a command."""

    APPLY = "apply"  # run the rule and move on
    REPEAT = "repeat"  # nothing changes; answer as before
    REFUSE = "refuse"  # this branch will not be held (again)
    ENTOMB = "entomb"  # remember the Cancel, so that the late Try is refused
    MISSING = "missing"  # nothing is known of this branch
    WAIT = "wait"  # an external effect is under way: ask again
    UNDO = "undo"  # an external effect is under way: let it end, then undo it
    CONFLICT = "conflict"  # the other decision is already made: an alarm


VERDICTS: Final[dict[tuple[State, Phase], Verdict]] = {
    (State.ABSENT, Phase.TRY): Verdict.APPLY,
    (State.ABSENT, Phase.CONFIRM): Verdict.MISSING,
    (State.ABSENT, Phase.CANCEL): Verdict.ENTOMB,
    (State.TRYING, Phase.TRY): Verdict.WAIT,
    (State.TRYING, Phase.CONFIRM): Verdict.WAIT,
    (State.TRYING, Phase.CANCEL): Verdict.UNDO,
    (State.TRIED, Phase.TRY): Verdict.REPEAT,
    (State.TRIED, Phase.CONFIRM): Verdict.APPLY,
    (State.TRIED, Phase.CANCEL): Verdict.APPLY,
    (State.CONFIRMING, Phase.TRY): Verdict.REPEAT,
    (State.CONFIRMING, Phase.CONFIRM): Verdict.APPLY,
    (State.CONFIRMING, Phase.CANCEL): Verdict.CONFLICT,
    (State.CONFIRMED, Phase.TRY): Verdict.REPEAT,
    (State.CONFIRMED, Phase.CONFIRM): Verdict.REPEAT,
    (State.CONFIRMED, Phase.CANCEL): Verdict.CONFLICT,
    (State.CANCELLING, Phase.TRY): Verdict.REFUSE,
    (State.CANCELLING, Phase.CONFIRM): Verdict.CONFLICT,
    (State.CANCELLING, Phase.CANCEL): Verdict.WAIT,
    (State.CANCELLED, Phase.TRY): Verdict.REFUSE,
    (State.CANCELLED, Phase.CONFIRM): Verdict.CONFLICT,
    (State.CANCELLED, Phase.CANCEL): Verdict.REPEAT,
}


class Sort(StrEnum):
    """The three sorts of answer. Only UNKNOWN is ever retried."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


def sort_answer(status: int) -> Sort:
    """Sort an HTTP status: done (2xx but 202), refused (4xx but 408, 425, 429), unknown (all else)."""
    if 200 <= status < 300 and status != 202:
        return Sort.DONE
    if 400 <= status < 500 and status not in (408, 425, 429):
        return Sort.REFUSED
    return Sort.UNKNOWN


TRANSACTION_ID: Final = "tcc-transaction-id"
BRANCH_ID: Final = "tcc-branch-id"
DEADLINE: Final = "tcc-deadline"
REASON: Final = "tcc-reason"
"""The protocol's header names, in the lower case in which ASGI delivers them."""
