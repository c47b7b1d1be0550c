"""What it means where coordinator and participant don't agree about a branch. Pure.

    standing(transaction, branch_id)   what the log says of a branch
    FINDINGS[standing, state]          what it is that the participant has the branch in that state
    judge(transaction, seen, ...)      the finding, or None where both agree or one is merely late

`FINDINGS` is the whole of it, one total table; a test holds that no pair is missing. What may be repaired is
repaired by what an inquiry would say about the branch at that moment, which is always safe; what no inquiry
can answer is an alarm, and a person looks. Tests and simulator judge by the same table.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from coordinator.branch import BranchState
from coordinator.transaction import FINAL, Transaction, waits_for_others
from shared.clock import Millis
from shared.tcc.protocol import State


class Standing(StrEnum):
    """What the log says of a branch: the branch's own states, and that it isn't there."""

    UNKNOWN = "UNKNOWN"  # there is no such transaction
    STRANGE = "STRANGE"  # the transaction has no such branch
    TRYING = "TRYING"
    TRIED = "TRIED"
    REFUSED = "REFUSED"
    CLOSED = "CLOSED"
    CONFIRMING = "CONFIRMING"
    CONFIRMED = "CONFIRMED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"


class Kind(StrEnum):
    """What was found."""

    NOT_APPLIED = "decided-not-applied"  # the decision has not reached the participant
    UNACKNOWLEDGED = "applied-not-acknowledged"  # it has, and the coordinator doesn't know
    DANGLING = "dangling"  # past its deadline, held and undecided
    UNKNOWN = "unknown-transaction"  # held for a transaction that the coordinator never had
    STRANGE = "strange-branch"  # held for a transaction that has no such branch
    STILL_HELD = "cancelled-still-held"  # cancelled here, held there
    ROLLED_BACK = "confirmed-still-held"  # confirmed here, only held there: it comes from a backup
    ABSENT = "confirmed-absent"  # to be confirmed here, and nothing there
    HOLD_LOST = "hold-lost"  # tried here, and nothing is held there
    NOT_DECIDED = "applied-not-decided"  # confirmed there, and nobody decided that
    CONTRADICTION = "contradicting-outcome"  # confirmed on one side, cancelled on the other
    OTHERS_BRANCH = "others-branch"  # there it belongs to another transaction


REPAIRABLE: Final = frozenset(
    {
        Kind.NOT_APPLIED,
        Kind.UNACKNOWLEDGED,
        Kind.DANGLING,
        Kind.UNKNOWN,
        Kind.STRANGE,
        Kind.STILL_HELD,
        Kind.ROLLED_BACK,
    }
)
"""An inquiry about the branch says what to do. The others are broken promises: a person looks."""

ALARMS: Final = frozenset(Kind) - REPAIRABLE

_GONE: Final = (State.ABSENT, State.CANCELLED)
_HELD: Final = (State.TRYING, State.TRIED)
_KEPT: Final = (State.CONFIRMING, State.CONFIRMED)
_ENDING: Final = (State.CANCELLING,)


def _row(
    standing: Standing, *, gone: Kind | None, held: Kind | None, kept: Kind | None, ending: Kind | None
) -> dict[tuple[Standing, State], Kind | None]:
    groups = ((_GONE, gone), (_HELD, held), (_KEPT, kept), (_ENDING, ending))
    return {(standing, state): kind for states, kind in groups for state in states}


FINDINGS: Final[dict[tuple[Standing, State], Kind | None]] = {
    **_row(Standing.UNKNOWN, gone=None, held=Kind.UNKNOWN, kept=Kind.NOT_DECIDED, ending=None),
    **_row(Standing.STRANGE, gone=None, held=Kind.STRANGE, kept=Kind.NOT_DECIDED, ending=None),
    **_row(Standing.TRYING, gone=None, held=Kind.DANGLING, kept=Kind.NOT_DECIDED, ending=None),
    **_row(
        Standing.TRIED,
        gone=Kind.HOLD_LOST,
        held=Kind.DANGLING,
        kept=Kind.NOT_DECIDED,
        ending=Kind.HOLD_LOST,
    ),
    **_row(Standing.REFUSED, gone=None, held=Kind.STILL_HELD, kept=Kind.NOT_DECIDED, ending=None),
    **_row(Standing.CLOSED, gone=None, held=Kind.STILL_HELD, kept=Kind.NOT_DECIDED, ending=None),
    **_row(
        Standing.CONFIRMING,
        gone=Kind.CONTRADICTION,
        held=Kind.NOT_APPLIED,
        kept=Kind.UNACKNOWLEDGED,
        ending=Kind.CONTRADICTION,
    ),
    (Standing.CONFIRMING, State.ABSENT): Kind.ABSENT,
    (Standing.CONFIRMING, State.CONFIRMING): Kind.NOT_APPLIED,
    **_row(
        Standing.CONFIRMED,
        gone=Kind.CONTRADICTION,
        held=Kind.ROLLED_BACK,
        kept=None,
        ending=Kind.CONTRADICTION,
    ),
    (Standing.CONFIRMED, State.ABSENT): Kind.ABSENT,
    (Standing.CONFIRMED, State.CONFIRMING): Kind.ROLLED_BACK,
    **_row(
        Standing.CANCELLING,
        gone=Kind.UNACKNOWLEDGED,
        held=Kind.NOT_APPLIED,
        kept=Kind.CONTRADICTION,
        ending=Kind.NOT_APPLIED,
    ),
    (Standing.CANCELLING, State.ABSENT): Kind.NOT_APPLIED,
    **_row(Standing.CANCELLED, gone=None, held=Kind.STILL_HELD, kept=Kind.CONTRADICTION, ending=None),
}

ASKED_ABOUT: Final = frozenset(
    standing for standing in Standing if FINDINGS[standing, State.ABSENT] is not None
)
"""Of such a branch a participant must know something, which only asking it shows: it lists what it has."""


class Seen(NamedTuple):
    """A branch as its participant tells it. ABSENT: it knows nothing of it; letter: its Confirm is dead."""

    branch_id: str
    transaction_id: str | None
    state: State
    expires_at: Millis | None = None
    updated_at: Millis = 0
    letter: bool = False


class Patience(NamedTuple):
    """What is merely late.

    grace: the age up to which nothing is a finding, in ms; behind: the participant has Confirms waiting that
    it has not come to, or can't tell; deaf: the same of the coordinator and its outcomes.
    """

    grace: Millis
    behind: bool = False
    deaf: bool = False


def standing(transaction: Transaction | None, branch_id: str) -> Standing:
    """Return what the log says of a branch."""
    if transaction is None:
        return Standing.UNKNOWN
    branch = transaction.branch(branch_id)
    if branch is not None:
        return Standing(branch.state.value)
    # What an inquiry cancelled for being unknown has no branches, and each is told to cancel.
    return Standing.STRANGE if transaction.branches else Standing.CANCELLED


def judge(transaction: Transaction | None, seen: Seen, now: Millis, patience: Patience) -> Kind | None:
    """Return what is found about a branch; None where both sides agree, or one of them is only late."""
    kind = finding(transaction, seen)
    if kind is None or _is_late(kind, transaction, seen, now, patience):
        return None
    return kind


def finding(transaction: Transaction | None, seen: Seen) -> Kind | None:
    """Return what is found about a branch, however young it is."""
    owner = seen.transaction_id if transaction is None else transaction.transaction_id
    if seen.state is not State.ABSENT and seen.transaction_id != owner:
        return Kind.OTHERS_BRANCH
    if seen.state is State.ABSENT and transaction is not None and transaction.shrunk_at is not None:
        return None  # Its participant may have forgotten it.
    return FINDINGS[standing(transaction, seen.branch_id), seen.state]


def may_be_forgotten(transaction: Transaction | None, seen: Seen) -> bool:
    """Say whether a participant needs a branch no more that it has kept for its retention.

    Its transaction has ended so long ago that nothing of it is left in any topic, and both sides agree how.
    Or nobody knows that transaction: then no Confirm can come, and what is cancelled is not needed.
    """
    if transaction is None:
        return seen.state is State.CANCELLED
    return transaction.shrunk_at is not None and finding(transaction, seen) is None


def _is_late(
    kind: Kind, transaction: Transaction | None, seen: Seen, now: Millis, patience: Patience
) -> bool:
    if kind in (Kind.DANGLING, Kind.UNKNOWN):
        # Before its end somebody may still begin, decide or repeat it.
        end = seen.expires_at if transaction is None else transaction.deadline
        return end is None or now - end <= patience.grace
    since = seen.updated_at if transaction is None else max(seen.updated_at, _since(transaction, seen))
    if now - since <= patience.grace:
        return True
    if transaction is None or standing(transaction, seen.branch_id) is not Standing.CONFIRMING:
        return False
    if kind is Kind.UNACKNOWLEDGED:
        return patience.deaf
    waits = seen.letter or patience.behind or waits_for_others(transaction, seen.branch_id)
    return kind is Kind.NOT_APPLIED and waits


def _since(transaction: Transaction, seen: Seen) -> Millis:
    """Return since when a branch has been due to be what the log says."""
    branch = transaction.branch(seen.branch_id)
    decided_at = transaction.decided_at
    if branch is None or decided_at is None or transaction.state in FINAL:
        return transaction.updated_at
    # The initiator's turn came with the last change; everybody else's with the decision.
    initiators = branch.participant == transaction.initiator
    return transaction.updated_at if initiators and branch.state is not BranchState.CANCELLING else decided_at
