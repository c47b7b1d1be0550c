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

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from shared.clock import Millis
from shared.tcc.protocol import Phase, Sort


class State(StrEnum):
    TRYING = "TRYING"
    TRIED = "TRIED"
    CONFIRMING = "CONFIRMING"
    CONFIRMED = "CONFIRMED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"


class BranchState(StrEnum):
    TRYING = "TRYING"  # its Try is to be sent, or its answer is unknown
    TRIED = "TRIED"
    REFUSED = "REFUSED"  # it said no, and so the transaction is cancelled
    CLOSED = "CLOSED"  # it was added, said no, and no longer counts
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

_AGREED: Final = frozenset({BranchState.TRIED, BranchState.CLOSED})
"""Branches that keep nobody from confirming."""
_UNSETTLED: Final = frozenset({BranchState.CONFIRMING, BranchState.CANCELLING})

EXPIRED: Final = "transaction-expired"
UNKNOWN_TRANSACTION: Final = "transaction-unknown"


class Branch(NamedTuple):
    """One participant's part.

    attempts: calls or publications made in the branch's present state; due_at: when the next may be made;
    added: joined a TRIED transaction later; dead_letter: why its Confirm could not be applied, while its
    letter is open; conflict: with what it refuses a decision that stands; problem: the document with which
    it refused its Try.
    """

    branch_id: str
    participant: str
    claim: Mapping[str, Any]
    key: str | None = None
    state: BranchState = BranchState.TRYING
    attempts: int = 0
    due_at: Millis = 0
    last_error: str | None = None
    dead_letter: str | None = None
    conflict: str | None = None
    problem: Mapping[str, Any] | None = None
    added: bool = False


class Transaction(NamedTuple):
    """One business action over several participants.

    deadline: the instant after which it can no longer be confirmed; timeout: the span it was given, in ms;
    version: counts the commits, and every commit compares it; attention: why a person should look;
    traceparent: the W3C trace context of the request that began it.
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


@dataclass(frozen=True, slots=True)
class Policy:
    """How the coordinator was set up, as far as the rules need it. Spans are milliseconds.

    published: the participants whose Confirms travel over Kafka; the others are called.
    """

    published: frozenset[str]
    republish: Millis = 10_000
    republish_cap: Millis = 300_000
    retry: Millis = 100
    retry_cap: Millis = 30_000
    attention_after: Millis = 30_000


class Call(NamedTuple):
    """A request that is due. look: only read whether the phase's effect is there, and change nothing."""

    phase: Phase
    branch: Branch
    look: bool = False


class Answered(NamedTuple):
    """How a call ended. problem: the refusal's document; error: why it is unknown; attempts: calls made.

    jitter: the fraction of the back-off to wait before the next, so that many don't come back at once.
    """

    phase: Phase
    branch_id: str
    sort: Sort
    problem: Mapping[str, Any] | None = None
    error: str | None = None
    attempts: int = 1
    jitter: float = 1.0


class Settled(NamedTuple):
    """A participant reported that it applied the Confirm."""

    branch_id: str


class DeadLettered(NamedTuple):
    """A participant reported that it could not apply the Confirm and keeps it as a dead letter."""

    branch_id: str
    reason: str


Fact = Answered | Settled | DeadLettered


def advance(transaction: Transaction, now: Millis, policy: Policy) -> tuple[Transaction, tuple[Branch, ...]]:
    """Take every step that needs no participant; return the result and the branches whose Confirm to publish.

    The publications belong into the commit that makes the result durable.
    """
    moved = _move(transaction, now)
    while moved is not transaction:
        transaction, moved = moved, _move(moved, now)
    published: tuple[Branch, ...] = ()
    if transaction.state is State.CONFIRMING:
        published = tuple([one for one in _due(transaction, now) if one.participant in policy.published])
        if published:
            branches = [
                _published(one, now, policy) if one in published else one for one in transaction.branches
            ]
            transaction = transaction._replace(branches=tuple(branches))
    return _with_attention(transaction, now, policy), published


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


def learn(transaction: Transaction, fact: Fact, now: Millis, policy: Policy) -> Transaction:
    """Take in a fact; one that comes too late or twice changes nothing."""
    branch = transaction.branch(fact.branch_id)
    if branch is None:
        return transaction
    if isinstance(fact, Answered):
        if fact.phase is Phase.TRY:
            learned = _learn_try(branch, fact, now, transaction.decidable_until, policy)
        else:
            learned = _learn_end(branch, fact, now, policy)
        return _put(transaction, branch, learned)
    if branch.state is not BranchState.CONFIRMING:
        return transaction
    if isinstance(fact, Settled):
        return _put(transaction, branch, _settled(branch, BranchState.CONFIRMED))
    return _put(transaction, branch, branch._replace(dead_letter=fact.reason, last_error=fact.reason))


def decide(transaction: Transaction, to: State, now: Millis, reason: str | None = None) -> Transaction:
    """Make the decision: CONFIRMING or CANCELLING. Only an undecided transaction has one to make."""
    assert transaction.state in UNDECIDED, f"{transaction.transaction_id} is decided: {transaction.state}"
    assert to in (State.CONFIRMING, State.CANCELLING), f"{to} is no decision"
    confirm = to is State.CONFIRMING
    branches = tuple([_decided(branch, confirm, now) for branch in transaction.branches])
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
        tried = tried and branch.state in _AGREED
    manual = transaction.mode is Mode.MANUAL
    if now > transaction.decidable_until and not (manual and now < transaction.deadline):
        return decide(transaction, State.CANCELLING, now, EXPIRED)
    if not tried:
        return transaction
    if manual:
        return transaction._replace(state=State.TRIED)
    return decide(transaction, State.CONFIRMING, now)


def refusal_reason(branch: Branch) -> str:
    """Return the slug of a refusal's problem type."""
    kind = str((branch.problem or {}).get("type", ""))
    return kind.removeprefix("urn:handfast:problem:") or "refused"


def _decided(branch: Branch, confirm: bool, now: Millis) -> Branch:
    assert not confirm or branch.state in _AGREED, f"{branch.branch_id} is {branch.state}"
    if branch.state is BranchState.CLOSED or (branch.state is BranchState.REFUSED and branch.attempts <= 1):
        # Its only Try was answered with no: it holds nothing. After several, an earlier one may have held.
        return branch
    state = BranchState.CONFIRMING if confirm else BranchState.CANCELLING
    return branch._replace(state=state, attempts=0, due_at=now, last_error=None)


def waits_for_others(transaction: Transaction, branch_id: str) -> bool:
    """Say whether a branch is the initiator's and others have not settled yet."""
    branch = transaction.branch(branch_id)
    if branch is None or branch.participant != transaction.initiator:
        return False
    return any(other.participant != transaction.initiator for other in _unsettled(transaction))


def _unsettled(transaction: Transaction) -> list[Branch]:
    return [branch for branch in transaction.branches if branch.state in _UNSETTLED]


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


def _pace(branch: Branch, policy: Policy) -> Millis:
    return min(policy.republish << min(branch.attempts, 20), policy.republish_cap)


def _published(branch: Branch, now: Millis, policy: Policy) -> Branch:
    return branch._replace(attempts=branch.attempts + 1, due_at=now + _pace(branch, policy))


def _learn_try(branch: Branch, fact: Answered, now: Millis, until: Millis, policy: Policy) -> Branch:
    if branch.state is not BranchState.TRYING:
        return branch
    attempts = branch.attempts + fact.attempts
    match fact.sort:
        case Sort.DONE:
            return branch._replace(state=BranchState.TRIED, attempts=attempts, last_error=None)
        case Sort.REFUSED:
            state = BranchState.CLOSED if branch.added else BranchState.REFUSED
            return branch._replace(
                state=state, attempts=attempts, problem=fact.problem, last_error=fact.error
            )
        case Sort.UNKNOWN:
            # A burst is many attempts, and after `until` the next is no use: it comes while there is time.
            longest = max((until - now) // 4, policy.retry)
            due_at = now + min(_back_off(attempts, fact.jitter, policy), longest)
            return branch._replace(attempts=attempts, last_error=fact.error, due_at=due_at)


def _learn_end(branch: Branch, fact: Answered, now: Millis, policy: Policy) -> Branch:
    confirm = fact.phase is Phase.CONFIRM
    if branch.state is not (BranchState.CONFIRMING if confirm else BranchState.CANCELLING):
        return branch
    if fact.sort is Sort.DONE:
        return _settled(branch, BranchState.CONFIRMED if confirm else BranchState.CANCELLED)
    if branch.dead_letter is not None:
        # It was looked for in vain: the letter stays the reason.
        return branch._replace(attempts=branch.attempts + 1, due_at=now + _pace(branch, policy))
    attempts = branch.attempts + fact.attempts
    # A refusal of a decision is a broken promise: the decision stands, so it is asked again, seldom.
    conflict = fact.error if fact.sort is Sort.REFUSED else None
    wait = policy.retry_cap if conflict else _back_off(attempts, fact.jitter, policy)
    return branch._replace(attempts=attempts, last_error=fact.error, due_at=now + wait, conflict=conflict)


def _back_off(attempts: int, jitter: float, policy: Policy) -> Millis:
    return int(min(policy.retry * 2 ** min(attempts - 1, 20), policy.retry_cap) * jitter)


def _settled(branch: Branch, state: BranchState) -> Branch:
    return branch._replace(state=state, last_error=None, dead_letter=None, conflict=None)


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
