"""A transaction as a value, and the rules by which it moves. Pure: no clock, no database, no network.

    advance(transaction, now, policy)  takes every step that needs nobody else: decisions, publications, ends
    calls(transaction, now, policy)    says which participants have to be called next
    learn(transaction, fact, now)      takes in what an answer, an outcome or an operator said

A driver turns the three in a circle and commits between them; recovery after a crash is the same circle.

States and their edges (a decision never changes):

    TRYING -> TRIED (manual), CONFIRMING, CANCELLING
    TRIED -> TRYING (a branch is added), CONFIRMING, CANCELLING
    CONFIRMING -> CONFIRMED
    CANCELLING -> CANCELLED
"""

from enum import StrEnum
from typing import Final, NamedTuple

from coordinator.branch import (
    AGREED,
    UNSETTLED,
    Answered,
    Branch,
    BranchState,
    Fact,
    Policy,
    answered,
    decided,
    published,
    refusal_reason,
    reported,
)
from shared.clock import Millis
from shared.tcc.protocol import Phase


class State(StrEnum):
    TRYING = "TRYING"
    TRIED = "TRIED"
    CONFIRMING = "CONFIRMING"
    CONFIRMED = "CONFIRMED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"


class Mode(StrEnum):
    AUTO = "auto"
    MANUAL = "manual"


UNDECIDED: Final = frozenset({State.TRYING, State.TRIED})
FINAL: Final = frozenset({State.CONFIRMED, State.CANCELLED})
TO_CONFIRM: Final = frozenset({State.CONFIRMING, State.CONFIRMED})

EXPIRED: Final = "transaction-expired"
UNKNOWN_TRANSACTION: Final = "transaction-unknown"


class Transaction(NamedTuple):
    """One business action over several participants.

    deadline: the instant after which it can no longer be confirmed; timeout: the span it was given, in ms;
    version: counts the commits, and every commit compares it; attention: why a person should look;
    traceparent: the W3C trace context of the request that began it; shrunk_at: when, long after its end, it
    was reduced to what has to be remembered of it.
    """

    transaction_id: str
    mode: Mode
    state: State
    timeout: Millis
    deadline: Millis
    initiator: str | None
    branches: tuple[Branch, ...]
    body_hash: str
    created_at: Millis
    updated_at: Millis
    version: int = 0
    reason: str | None = None
    attention: str | None = None
    decided_at: Millis | None = None
    traceparent: str | None = None
    shrunk_at: Millis | None = None

    def branch(self, branch_id: str) -> Branch | None:
        for branch in self.branches:
            if branch.branch_id == branch_id:
                return branch
        return None

    def open_branch_of(self, participant: str) -> Branch | None:
        """Return the branch of that participant that counts for the decision, if there is one."""
        return next((one for one in self.open_branches if one.participant == participant), None)

    @property
    def open_branches(self) -> tuple[Branch, ...]:
        return tuple(branch for branch in self.branches if branch.state is not BranchState.CLOSED)

    @property
    def margin(self) -> Millis:
        """How long before the deadline the decision must have fallen: a tenth, at most a second."""
        return min(self.timeout // 10, 1_000)

    @property
    def decidable_until(self) -> Millis:
        return self.deadline - self.margin


class Call(NamedTuple):
    """A request that is due. look: only read whether the phase's effect is there, and change nothing."""

    phase: Phase
    branch: Branch
    look: bool = False


def advance(transaction: Transaction, now: Millis, policy: Policy) -> tuple[Transaction, tuple[Branch, ...]]:
    """Take every step that needs no participant; return the result and the branches whose Confirm to publish.

    The publications belong into the commit that makes the result durable.
    """
    moved = _move(transaction, now)
    while moved is not transaction:
        transaction, moved = moved, _move(moved, now)
    sent: tuple[Branch, ...] = ()
    if transaction.state is State.CONFIRMING:
        sent = tuple([one for one in _due(transaction, now) if one.participant in policy.published])
        if sent:
            branches = [published(one, now, policy) if one in sent else one for one in transaction.branches]
            transaction = transaction._replace(branches=tuple(branches))
    return _with_attention(transaction, now, policy), sent


def calls(transaction: Transaction, now: Millis, policy: Policy) -> tuple[Call, ...]:
    """Return the requests that are due now."""
    if transaction.state is State.CONFIRMING:
        looks = _looks(transaction, now)
        called = {one.participant for one in transaction.branches} - policy.published
        if not called:
            return looks
        return looks + tuple(
            [Call(Phase.CONFIRM, one) for one in _due(transaction, now) if one.participant in called]
        )
    if transaction.state is State.TRYING:
        trying = BranchState.TRYING
        due = transaction.branches
        return tuple([Call(Phase.TRY, one) for one in due if one.state is trying and one.due_at <= now])
    if transaction.state is State.CANCELLING:
        return tuple([Call(Phase.CANCEL, branch) for branch in _due(transaction, now)])
    return ()


def wake_at(transaction: Transaction) -> Millis | None:
    """Return when the transaction wants to be looked at again if nobody speaks; None once it is final."""
    state = transaction.state
    if state is State.CONFIRMING or state is State.CANCELLING:
        return min([branch.due_at for branch in _next(transaction)], default=None)
    if state is State.TRYING:
        trying = [one.due_at for one in transaction.branches if one.state is BranchState.TRYING]
        auto = transaction.mode is Mode.AUTO
        return min([*trying, transaction.decidable_until + 1 if auto else transaction.deadline])
    return transaction.deadline if state is State.TRIED else None


def waits_for(transaction: Transaction) -> str | None:
    """Return the participant whose answer is missing, which may call for more haste than `wake_at` once it
    answers again; None where none is."""
    for branch in transaction.branches:
        if _awaited(branch):
            return branch.participant
    return None


def heard_of(transaction: Transaction, participant: str, now: Millis) -> Transaction:
    """Return the transaction with what waits for that participant due now, because it answers again."""
    branches = [
        one._replace(due_at=min(one.due_at, now)) if one.participant == participant and _awaited(one) else one
        for one in transaction.branches
    ]
    return transaction._replace(branches=tuple(branches))


def learn(transaction: Transaction, fact: Fact, now: Millis, policy: Policy) -> Transaction:
    """Take in a fact; one that comes too late or twice changes nothing."""
    branch = transaction.branch(fact.branch_id)
    if branch is None:
        return transaction
    if isinstance(fact, Answered):
        return _put(transaction, branch, answered(branch, fact, now, transaction.decidable_until, policy))
    if branch.state is not BranchState.CONFIRMING:
        return transaction
    return _put(transaction, branch, reported(branch, fact))


def decide(transaction: Transaction, to: State, now: Millis, reason: str | None = None) -> Transaction:
    """Make the decision: CONFIRMING or CANCELLING. Only an undecided transaction has one to make."""
    assert transaction.state in UNDECIDED, f"{transaction.transaction_id} is decided: {transaction.state}"
    assert to in (State.CONFIRMING, State.CANCELLING), f"{to} is no decision"
    confirm = to is State.CONFIRMING
    branches = tuple([decided(branch, confirm, now) for branch in transaction.branches])
    return transaction._replace(state=to, branches=branches, reason=reason, decided_at=now)


def add_branch(transaction: Transaction, branch: Branch) -> Transaction:
    """Open a branch on a TRIED transaction, which is TRYING again until the branch has answered."""
    assert transaction.state is State.TRIED, f"{transaction.transaction_id} is {transaction.state}"
    assert transaction.open_branch_of(branch.participant) is None, f"{branch.participant} has a branch"
    added = branch._replace(added=True)
    return transaction._replace(state=State.TRYING, branches=(*transaction.branches, added))


def hurry(transaction: Transaction, now: Millis) -> Transaction:
    """Clear the back-off of everything that is still to be done."""
    waiting = tuple(
        branch._replace(due_at=now) if branch.due_at > now else branch for branch in transaction.branches
    )
    return transaction._replace(branches=waiting)


def _move(transaction: Transaction, now: Millis) -> Transaction:
    """Take the one next change of state that is due, if there is one."""
    state = transaction.state
    if state is State.TRYING:
        return _judge(transaction, now)
    if state is State.CONFIRMING or state is State.CANCELLING:
        if _unsettled(transaction):
            return transaction
        return transaction._replace(state=State.CONFIRMED if state is State.CONFIRMING else State.CANCELLED)
    if state is State.TRIED and now >= transaction.deadline:
        return decide(transaction, State.CANCELLING, now, EXPIRED)
    return transaction


def _judge(transaction: Transaction, now: Millis) -> Transaction:
    tried = True
    for branch in transaction.branches:
        if branch.state is BranchState.REFUSED:
            return decide(transaction, State.CANCELLING, now, refusal_reason(branch))
        tried = tried and branch.state in AGREED
    manual = transaction.mode is Mode.MANUAL
    if now > transaction.decidable_until and not (manual and now < transaction.deadline):
        return decide(transaction, State.CANCELLING, now, EXPIRED)
    if not tried:
        return transaction
    if manual:
        return transaction._replace(state=State.TRIED)
    return decide(transaction, State.CONFIRMING, now)


def waits_for_others(transaction: Transaction, branch_id: str) -> bool:
    """Say whether a branch is the initiator's and others have not settled yet."""
    branch = transaction.branch(branch_id)
    if branch is None or branch.participant != transaction.initiator:
        return False
    return any(other.participant != transaction.initiator for other in _unsettled(transaction))


def _awaited(branch: Branch) -> bool:
    """Say whether a call of it had no answer, or could not be made for want of one."""
    waiting = branch.state is BranchState.TRYING or branch.state in UNSETTLED
    return (
        waiting and branch.last_error is not None and branch.dead_letter is None and branch.conflict is None
    )


def _unsettled(transaction: Transaction) -> list[Branch]:
    return [branch for branch in transaction.branches if branch.state in UNSETTLED]


def _next(transaction: Transaction) -> list[Branch]:
    """Return whose turn it is to be settled; the initiator's branch waits until every other is."""
    unsettled = _unsettled(transaction)
    initiator = transaction.initiator
    return [branch for branch in unsettled if branch.participant != initiator] or unsettled


def _due(transaction: Transaction, now: Millis) -> list[Branch]:
    """Return what may be sent now."""
    return [one for one in _next(transaction) if one.due_at <= now and one.dead_letter is None]


def _looks(transaction: Transaction, now: Millis) -> tuple[Call, ...]:
    """Return the dead-lettered Confirms for which it is time to look whether they were applied after all.

    Its acknowledgement may be lost like any other, and while it counts as dead it is not published again,
    which would repeat it.
    """
    return tuple(
        [
            Call(Phase.CONFIRM, branch, look=True)
            for branch in _unsettled(transaction)
            if branch.dead_letter is not None and branch.due_at <= now
        ]
    )


def _put(transaction: Transaction, branch: Branch, learned: Branch) -> Transaction:
    """Return a new transaction, with what was learned in the branch's place."""
    branches = [learned if one is branch else one for one in transaction.branches]
    return transaction._replace(branches=tuple(branches))


def _with_attention(transaction: Transaction, now: Millis, policy: Policy) -> Transaction:
    attention = _attention(transaction, now, policy)
    return transaction if attention == transaction.attention else transaction._replace(attention=attention)


def _attention(transaction: Transaction, now: Millis, policy: Policy) -> str | None:
    unsettled = _unsettled(transaction)
    for branch in unsettled:
        if branch.dead_letter is not None:
            return f"The Confirm of {branch.participant} is a dead letter: {branch.dead_letter}"
        if branch.conflict is not None:
            return f"{branch.participant} refuses the decision: {branch.conflict}"
    if unsettled and transaction.decided_at is not None:
        slowest = unsettled[0]
        if now - transaction.decided_at >= policy.attention_after:
            what = slowest.last_error or "no acknowledgement"
            return f"{slowest.participant} has not settled for long: {what}"
    return None
