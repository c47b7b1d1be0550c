"""One participant's part of a transaction: its states, what is heard of it, and what follows. Pure.

    decided(branch, confirm, now)              binds it to the decision
    published(branch, now, policy)             counts a publication of its Confirm
    answered(branch, answer, now, until, ...)  takes in how a call ended
    reported(branch, fact)                     takes in what its participant said about the Confirm
    remembered(branch)                         lets go of what nobody needs long after its end

What several branches mean together is the transaction's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from shared.clock import Millis
from shared.tcc.protocol import Phase, Sort

LONGEST_REASON: Final = 200
"""Characters of the reason for which a transaction is cancelled."""


class BranchState(StrEnum):
    TRYING = "TRYING"  # its Try is to be sent, or its answer is unknown
    TRIED = "TRIED"
    REFUSED = "REFUSED"  # it said no, and so the transaction is cancelled
    CLOSED = "CLOSED"  # it was added, said no, and no longer counts
    CONFIRMING = "CONFIRMING"
    CONFIRMED = "CONFIRMED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"


AGREED: Final = frozenset({BranchState.TRIED, BranchState.CLOSED})
"""Branches that keep nobody from confirming."""
UNSETTLED: Final = frozenset({BranchState.CONFIRMING, BranchState.CANCELLING})


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


@dataclass(frozen=True, slots=True)
class Policy:
    """How the coordinator was set up, as far as the rules need it. Spans are milliseconds.

    published: the participants whose Confirms travel over Kafka; the others are called; silence: how long
    what waits for a participant that answers nobody is left alone, unless it answers again.
    """

    published: frozenset[str]
    republish: Millis = 10_000
    republish_cap: Millis = 300_000
    retry: Millis = 100
    retry_cap: Millis = 30_000
    attention_after: Millis = 30_000
    silence: Millis = 300_000


class Answered(NamedTuple):
    """How a call ended. problem: the refusal's document; error: why it is unknown; attempts: calls made.

    jitter: the fraction of the back-off to wait before the next, so that many don't come back at once;
    silent: no call was made, because the participant answers nobody or has all hands full.
    """

    phase: Phase
    branch_id: str
    sort: Sort
    problem: Mapping[str, Any] | None = None
    error: str | None = None
    attempts: int = 1
    jitter: float = 1.0
    silent: bool = False


class Settled(NamedTuple):
    """A participant reported that it applied the Confirm."""

    branch_id: str


class DeadLettered(NamedTuple):
    """A participant reported that it could not apply the Confirm and keeps it as a dead letter."""

    branch_id: str
    reason: str


Fact = Answered | Settled | DeadLettered


def decided(branch: Branch, confirm: bool, now: Millis) -> Branch:
    """Bind a branch to the decision, where it may hold something."""
    assert not confirm or branch.state in AGREED, f"{branch.branch_id} is {branch.state}"
    if branch.state is BranchState.CLOSED or (branch.state is BranchState.REFUSED and branch.attempts <= 1):
        # Its only Try was answered with no: it holds nothing. After several, an earlier one may have held.
        return branch
    state = BranchState.CONFIRMING if confirm else BranchState.CANCELLING
    return branch._replace(state=state, attempts=0, due_at=now, last_error=None)


def published(branch: Branch, now: Millis, policy: Policy) -> Branch:
    """Count a publication of its Confirm; the next is due when no outcome has come by then."""
    return branch._replace(attempts=branch.attempts + 1, due_at=now + _pace(branch, policy))


def answered(branch: Branch, answer: Answered, now: Millis, until: Millis, policy: Policy) -> Branch:
    """Take in how a call ended; one that comes too late changes nothing. until: a Try's last instant."""
    if answer.silent:
        due_at = now + int(policy.silence * answer.jitter)
        return branch._replace(last_error=branch.last_error or answer.error, due_at=due_at)
    if answer.phase is Phase.TRY:
        return _learn_try(branch, answer, now, until, policy)
    return _learn_end(branch, answer, now, policy)


def reported(branch: Branch, fact: Settled | DeadLettered) -> Branch:
    """Take in what was said about a Confirm that is under way."""
    if isinstance(fact, Settled):
        return _settled(branch, BranchState.CONFIRMED)
    return branch._replace(dead_letter=fact.reason, last_error=fact.reason)


def remembered(branch: Branch) -> Branch:
    """Return what is remembered of a settled branch: who it was, how it ended, and a refusal's document."""
    return branch._replace(claim={}, due_at=0, last_error=None)


def refusal_reason(branch: Branch) -> str:
    """Return the slug of a refusal's problem type, or the type, as far as it fits a header and a column."""
    kind = str((branch.problem or {}).get("type", "")).removeprefix("urn:handfast:problem:")
    return "".join(letter for letter in kind if "!" <= letter <= "~")[:LONGEST_REASON] or "refused"


def _learn_try(branch: Branch, answer: Answered, now: Millis, until: Millis, policy: Policy) -> Branch:
    if branch.state is not BranchState.TRYING:
        return branch
    attempts = branch.attempts + answer.attempts
    match answer.sort:
        case Sort.DONE:
            return branch._replace(state=BranchState.TRIED, attempts=attempts, last_error=None)
        case Sort.REFUSED:
            state = BranchState.CLOSED if branch.added else BranchState.REFUSED
            return branch._replace(
                state=state, attempts=attempts, problem=answer.problem, last_error=answer.error
            )
        case Sort.UNKNOWN:
            # A burst is many attempts, and after `until` the next is no use: it comes while there is time.
            longest = max((until - now) // 4, policy.retry)
            due_at = now + min(_back_off(attempts, answer.jitter, policy), longest)
            return branch._replace(attempts=attempts, last_error=answer.error, due_at=due_at)


def _learn_end(branch: Branch, answer: Answered, now: Millis, policy: Policy) -> Branch:
    confirm = answer.phase is Phase.CONFIRM
    if branch.state is not (BranchState.CONFIRMING if confirm else BranchState.CANCELLING):
        return branch
    if answer.sort is Sort.DONE:
        return _settled(branch, BranchState.CONFIRMED if confirm else BranchState.CANCELLED)
    if branch.dead_letter is not None:
        # It was looked for in vain: the letter stays the reason.
        return branch._replace(attempts=branch.attempts + 1, due_at=now + _pace(branch, policy))
    attempts = branch.attempts + answer.attempts
    # A refusal of a decision is a broken promise: the decision stands, so it is asked again, seldom.
    conflict = answer.error if answer.sort is Sort.REFUSED else None
    wait = policy.retry_cap if conflict else _back_off(attempts, answer.jitter, policy)
    return branch._replace(attempts=attempts, last_error=answer.error, due_at=now + wait, conflict=conflict)


def _settled(branch: Branch, state: BranchState) -> Branch:
    return branch._replace(state=state, last_error=None, dead_letter=None, conflict=None)


def _pace(branch: Branch, policy: Policy) -> Millis:
    return min(policy.republish << min(branch.attempts, 20), policy.republish_cap)


def _back_off(attempts: int, jitter: float, policy: Policy) -> Millis:
    return int(min(policy.retry * 2 ** min(attempts - 1, 20), policy.retry_cap) * jitter)
