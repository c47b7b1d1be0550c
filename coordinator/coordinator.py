"""What can be asked of the coordinator: begin, add a branch, decide, hurry, show.

Each of these is a pure change of a transaction, made durable by compare-and-set and followed by the driver's
circle; nothing here calls a participant itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from coordinator import log
from coordinator.branch import Branch, BranchState
from coordinator.driver import Driver
from coordinator.log import Event
from coordinator.participants import Registry
from coordinator.transaction import (
    EXPIRED,
    FINAL,
    TO_CONFIRM,
    UNDECIDED,
    UNKNOWN_TRANSACTION,
    Mode,
    State,
    Transaction,
    add_branch,
    decide,
    hurry,
)
from shared.bell import Bell
from shared.clock import Clock, Millis, iso
from shared.database.port import Database
from shared.errors import NotFound, Refused
from shared.identity import NewId

LONGEST_WAIT: Final = 15.0
"""How long, in seconds, a request waits for a decision before it is answered "undecided"."""


@dataclass(frozen=True, slots=True)
class BranchRequest:
    """A branch as asked for. key: of its Confirm over Kafka; None: its branch id.

    branch_id: of a reservation that the initiator holds already; None: it is to be tried.
    """

    participant: str
    claim: Mapping[str, Any]
    key: str | None = None
    branch_id: str | None = None


@dataclass(frozen=True, slots=True)
class TransactionRequest:
    """A transaction as asked for. timeout: milliseconds; body_hash: what a repeat is compared by."""

    transaction_id: str | None
    mode: Mode
    timeout: Millis
    initiator: str | None
    branches: Sequence[BranchRequest]
    body_hash: str
    traceparent: str | None = None


class Coordinator:
    """The coordinator's use cases over its log and its driver."""

    def __init__(
        self,
        *,
        database: Database,
        driver: Driver,
        registry: Registry,
        clock: Clock,
        new_id: NewId,
        bell: Bell,
    ) -> None:
        self._database = database
        self._driver = driver
        self._registry = registry
        self._clock = clock
        self._new_id = new_id
        self._bell = bell

    async def begin(self, request: TransactionRequest) -> tuple[Transaction, bool]:
        """Begin a transaction, or join the one that has its id; wait until it is decided (or TRIED).

        Returns it, and whether this call created it. Raises Refused where the id belongs to another body or
        was cancelled by an inquiry before anything was known of it.
        """
        transaction = self._new(request)
        decided = await self._driver.begin(transaction)
        if decided is not None:
            return await self.wait_decided(decided), True
        found = await self.show(transaction.transaction_id)
        if found.reason == UNKNOWN_TRANSACTION:
            detail = "An inquiry cancelled this id before its transaction arrived. Begin under a new id."
            raise Refused("transaction-cancelled", detail)
        if found.body_hash != request.body_hash:
            detail = "This transaction id belongs to a transaction with another body. Use an id of its own."
            raise Refused("transaction-id-reused", detail, 422)
        return await self.wait_decided(found), False

    async def add(self, transaction_id: str, request: BranchRequest) -> tuple[Transaction, Branch, bool]:
        """Open a branch on a TRIED manual transaction (or join the open one), and wait for its answer.

        Returns the transaction, the branch as it stands, and whether this call opened it.
        """
        self._registry.find(request.participant)
        if request.branch_id is not None:
            raise Refused("invalid-request", "Leave branchId out: a branch that is added is tried.", 422)
        branch = _branch(request, self._new_id())
        joined: Branch | None = None

        def open_branch(found: Transaction) -> Transaction:
            nonlocal joined
            joined = _joinable(found, branch)
            if joined is not None:
                return found
            now = self._clock.now()
            if now >= found.deadline:
                return decide(found, State.CANCELLING, now, EXPIRED)
            if len(found.branches) >= MOST_BRANCHES:
                raise Refused(
                    "too-many-branches", f"A transaction has at most {MOST_BRANCHES} branches.", 422
                )
            return add_branch(found, branch)

        transaction = await self._change(transaction_id, open_branch)
        wanted = joined or branch
        if transaction.state not in UNDECIDED:
            self._driver.drive_behind(transaction)
            raise _too_late(transaction)
        if joined is None:
            transaction = await self._driver.drive(transaction)
        transaction = await self._wait_branch(transaction, wanted.branch_id)
        answered = transaction.branch(wanted.branch_id)
        assert answered is not None, f"branch {wanted.branch_id} has vanished"
        return transaction, answered, joined is None

    async def confirm(self, transaction_id: str) -> Transaction:
        """Decide to confirm a TRIED manual transaction; a repeat finds it decided."""

        def change(found: Transaction) -> Transaction:
            now = self._clock.now()
            if found.state in TO_CONFIRM:
                return found
            _must_be_manual(found)
            if found.state in UNDECIDED and now > found.decidable_until:
                return found if now < found.deadline else decide(found, State.CANCELLING, now, EXPIRED)
            if found.state is State.TRYING:
                detail = "A branch has not answered yet. Ask for the transaction and decide once it is TRIED."
                raise Refused("transaction-not-tried", detail)
            return decide(found, State.CONFIRMING, now) if found.state is State.TRIED else found

        transaction = await self._change(transaction_id, change)
        self._follow_up(transaction)
        if transaction.state not in TO_CONFIRM:
            raise _too_late(transaction)
        return transaction

    async def cancel(self, transaction_id: str, reason: str) -> Transaction:
        """Decide to cancel an undecided manual transaction; a repeat finds it decided."""

        def change(found: Transaction) -> Transaction:
            if found.state in TO_CONFIRM:
                raise Refused("transaction-confirmed", "The decision was to confirm, and it never changes.")
            if found.state not in UNDECIDED:
                return found
            _must_be_manual(found)
            now = self._clock.now()
            return decide(found, State.CANCELLING, now, EXPIRED if now >= found.deadline else reason)

        transaction = await self._change(transaction_id, change)
        self._follow_up(transaction)
        return transaction

    async def retry(self, transaction_id: str) -> Transaction:
        """Drive it now, whatever its back-off says; one that is shrunk has ended long ago, and stays so."""
        found = await self.show(transaction_id)
        if found.shrunk_at is not None:
            return found
        transaction = await self._change(
            transaction_id, lambda found: hurry(found, self._clock.now()), kind="retry"
        )
        self._follow_up(transaction)
        return transaction

    async def show(self, transaction_id: str) -> Transaction:
        found = await self._database.read(lambda connection: log.read(connection, transaction_id))
        if found is None:
            raise unknown_transaction(transaction_id)
        return found

    async def page(
        self, *, state: State | None, attention: bool | None, after: str | None, most: int
    ) -> list[Transaction]:
        return await self._database.read(
            lambda connection: log.page(connection, state=state, attention=attention, after=after, most=most)
        )

    async def timeline(self, transaction_id: str) -> list[Event]:
        found = await self.show(transaction_id)
        events = await self._database.read(lambda connection: log.timeline(connection, transaction_id))
        if found.shrunk_at is not None:
            # What happened before is not known any more, and that is what there is to tell.
            events = [{"at": found.shrunk_at, "event": "shrunk", "state": found.state.value}, *events]
        return [{**event, "at": iso(event["at"])} for event in events]

    async def wait_decided(self, transaction: Transaction, seconds: float = LONGEST_WAIT) -> Transaction:
        """Return the transaction once it is decided (or TRIED), or as it is when the time is up.

        Nobody waits for a participant that answers nobody: those who did would take the places of others.
        """
        if _decided(transaction) or self._driver.stalled(transaction):
            return transaction
        return await self._wait(transaction, _decided, seconds)

    async def wait_final(self, transaction: Transaction, seconds: float) -> Transaction:
        """Return the transaction once every participant is settled, or as it is when the time is up."""
        if transaction.state in FINAL or seconds <= 0:
            return transaction
        return await self._wait(transaction, lambda one: one.state in FINAL, seconds)

    async def _wait_branch(self, transaction: Transaction, branch_id: str) -> Transaction:
        def answered(one: Transaction) -> bool:
            branch = one.branch(branch_id)
            return branch is None or branch.state is not BranchState.TRYING

        if answered(transaction):
            return transaction
        return await self._wait(transaction, answered, LONGEST_WAIT)

    async def _wait(self, transaction: Transaction, until: Any, seconds: float) -> Transaction:
        async def look() -> Transaction | None:
            found = await self.show(transaction.transaction_id)
            return found if until(found) else None

        found = await self._bell.wait(transaction.transaction_id, look, seconds)
        return found or await self.show(transaction.transaction_id)

    async def _change(self, transaction_id: str, change: Any, **event: Any) -> Transaction:
        try:
            return await self._driver.change(transaction_id, change, **event)
        except KeyError:
            raise unknown_transaction(transaction_id) from None

    def _follow_up(self, transaction: Transaction) -> None:
        if transaction.state not in FINAL:
            self._driver.drive_behind(transaction)

    def _new(self, request: TransactionRequest) -> Transaction:
        names = [branch.participant for branch in request.branches]
        for name in names:
            self._registry.find(name)
        if len(set(names)) != len(names):
            detail = "Each participant has one branch; put what you want of it into one claim."
            raise Refused("invalid-request", detail, 422)
        if request.initiator is not None and request.initiator not in names:
            raise Refused(
                "invalid-request", "The initiator must be the participant of one of the branches.", 422
            )
        held = [branch.participant for branch in request.branches if branch.branch_id is not None]
        if any(name != request.initiator for name in held):
            detail = "Only the initiator may name a branchId, that of its own branch; leave out the others."
            raise Refused("invalid-request", detail, 422)
        now = self._clock.now()
        branch_ids = self._new_id()
        return Transaction(
            transaction_id=request.transaction_id or self._new_id(),
            mode=request.mode,
            state=State.TRYING,
            timeout=request.timeout,
            deadline=now + request.timeout,
            initiator=request.initiator,
            branches=tuple(
                _branch(branch, f"{branch_ids}-{number}") for number, branch in enumerate(request.branches, 1)
            ),
            body_hash=request.body_hash,
            created_at=now,
            updated_at=now,
            traceparent=request.traceparent,
        )


MOST_BRANCHES: Final = 20


def unknown_transaction(transaction_id: str) -> NotFound:
    """Return what is said of a transaction that there isn't, or that is none of the asker's business."""
    return NotFound(f"There is no transaction {transaction_id}.", "unknown-transaction")


def _decided(transaction: Transaction) -> bool:
    return transaction.state is not State.TRYING


def _joinable(transaction: Transaction, wanted: Branch) -> Branch | None:
    """Return the open branch that a request joins, None where it may open one; raise where it may not."""
    _must_be_manual(transaction)
    if transaction.state not in UNDECIDED:
        raise _too_late(transaction)
    standing = transaction.open_branch_of(wanted.participant)
    if standing is not None:
        if standing.claim != wanted.claim:
            detail = f"{wanted.participant} has an open branch with another claim; at most one may be open."
            raise Refused("branch-open", detail)
        return standing
    if transaction.state is State.TRYING:
        detail = "Another branch has not answered yet. Add this one once the transaction is TRIED."
        raise Refused("transaction-not-tried", detail)
    return None


def _branch(request: BranchRequest, branch_id: str) -> Branch:
    """Return a branch to begin with: to be tried under that id, or held already under its own."""
    branch = Branch(branch_id, request.participant, request.claim, request.key)
    if request.branch_id is None:
        return branch
    return branch._replace(branch_id=request.branch_id, state=BranchState.TRIED)


def _must_be_manual(transaction: Transaction) -> None:
    if transaction.mode is not Mode.MANUAL:
        detail = (
            "The coordinator decides this transaction itself; only manual ones take branches and decisions."
        )
        raise Refused("transaction-not-manual", detail)


def _too_late(transaction: Transaction) -> Refused:
    if transaction.state in TO_CONFIRM:
        return Refused("transaction-confirmed", "The decision was to confirm, and it never changes.")
    if transaction.state in UNDECIDED or transaction.reason == EXPIRED:
        return Refused(EXPIRED, "Its deadline has passed, so it is cancelled. Begin a new one.", 410)
    return Refused("transaction-cancelled", "The decision was to cancel, and it never changes.")
