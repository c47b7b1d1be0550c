"""What participants ask about a reservation past its time: what was decided.

The answer is always one that lasts. Where nothing is decided and the time is up, cancel is decided first, and
so it is for an id that nobody knows: a transaction that arrives later under it is refused.
"""

from dataclasses import dataclass
from typing import Literal

from coordinator import log
from coordinator.branch import BranchState
from coordinator.driver import Driver
from coordinator.log import Change
from coordinator.transaction import (
    EXPIRED,
    TO_CONFIRM,
    UNDECIDED,
    UNKNOWN_TRANSACTION,
    Mode,
    State,
    Transaction,
    decide,
    waits_for_others,
)
from shared.clock import Clock, Millis
from shared.database.port import Database
from shared.security.access import forbidden

Decision = Literal["confirm", "cancel", "wait"]


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer to an inquiry. decision: confirm, cancel or wait."""

    decision: Decision
    state: State
    deadline: Millis
    reason: str | None


class Inquiries:
    """Answers them from the log."""

    def __init__(self, *, database: Database, driver: Driver, clock: Clock) -> None:
        self._database = database
        self._driver = driver
        self._clock = clock

    async def inquire(self, transaction_id: str, branch_id: str | None, asker: str | None = None) -> Ruling:
        """Say what was decided. Where nothing was, and time is up or the id unknown, cancel is decided now.

        A branch that was closed, or that the transaction never had, is told to cancel all the same. The
        initiator's branch is told to wait until every other has settled: it would follow at once.

        asker: the participant that asks, which is told of its own branches only (Refused 403); None: anybody.
        """
        now = self._clock.now()
        found = await self._database.read(lambda connection: log.read(connection, transaction_id))
        if found is None:
            found = await self._cancel_unknown(transaction_id)
        if asker is not None:
            _insist_on_own_branch(found, branch_id, asker)
        if found.state in UNDECIDED and now >= found.deadline:
            found = await self._driver.change(transaction_id, lambda one: _expire(one, self._clock.now()))
            self._driver.drive_behind(found)
        # One that was cancelled for being unknown has no branches, and that is the reason to tell.
        if branch_id is not None and found.branches and not _counts(found, branch_id):
            return Ruling("cancel", found.state, found.deadline, "branch-closed")
        if branch_id is not None and waits_for_others(found, branch_id):
            return Ruling("wait", found.state, found.deadline, found.reason)
        return Ruling(_decision(found), found.state, found.deadline, found.reason)

    async def _cancel_unknown(self, transaction_id: str) -> Transaction:
        """Make the answer durable before it is given: a transaction that comes later is refused."""
        now = self._clock.now()
        tombstone = Transaction(
            transaction_id=transaction_id,
            mode=Mode.AUTO,
            state=State.CANCELLED,
            timeout=0,
            deadline=now,
            initiator=None,
            branches=(),
            body_hash="",
            created_at=now,
            updated_at=now,
            reason=UNKNOWN_TRANSACTION,
            decided_at=now,
        )
        event = {
            "at": now,
            "event": "state",
            "state": tombstone.state.value,
            "reason": UNKNOWN_TRANSACTION,
        }
        taken = await self._database.write(
            lambda connection: log.create(connection, Change(tombstone, events=[event]))
        )
        return taken or tombstone


def _expire(transaction: Transaction, now: Millis) -> Transaction:
    """Decide to cancel where nothing is decided and the time is up."""
    if transaction.state in UNDECIDED and now >= transaction.deadline:
        return decide(transaction, State.CANCELLING, now, EXPIRED)
    return transaction


def _decision(transaction: Transaction) -> Decision:
    if transaction.state in UNDECIDED:
        return "wait"
    return "confirm" if transaction.state in TO_CONFIRM else "cancel"


def _insist_on_own_branch(transaction: Transaction, branch_id: str | None, asker: str) -> None:
    """Raise Refused where a participant asks about another's branch.

    A branch that the transaction never had is nobody else's, and must hear that it doesn't count.
    """
    branch = None if branch_id is None else transaction.branch(branch_id)
    owners = {one.participant for one in transaction.branches} if branch_id is None else set()
    if branch is not None:
        owners = {branch.participant}
    if owners and asker not in owners:
        raise forbidden(f"Your token is that of {asker}: it may ask about {asker}'s branches only.")


def _counts(transaction: Transaction, branch_id: str) -> bool:
    branch = transaction.branch(branch_id)
    return branch is not None and branch.state is not BranchState.CLOSED
