"""What is done about a finding: what an inquiry about the branch says, at this moment.

An inquiry's answer is durable and never taken back, so acting on it can't be wrong, however old the finding
is that led to it. To confirm, the Confirm is published again (or PUT), though the coordinator may have it
confirmed long ago; to cancel, the participant is told so; what has to wait is left alone. Each is what the
protocol does anyway, and harmless when repeated.
"""

from typing import Any

from sqlalchemy import Connection

from coordinator import log
from coordinator.branch import Branch, BranchState
from coordinator.caller import Attempts, ParticipantCaller
from coordinator.comparison import Owner
from coordinator.driver import Driver
from coordinator.inquiries import Inquiries
from coordinator.participants import Participant
from coordinator.transaction import TO_CONFIRM, Call, Transaction, hurry
from shared.clock import Clock
from shared.database.port import Database
from shared.messaging.outbox import Outbox
from shared.tcc.protocol import Phase, Sort

_DONE = {Phase.CONFIRM: "confirmed", Phase.CANCEL: "cancelled"}


class Repairs:
    """Carries them out."""

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        driver: Driver,
        inquiries: Inquiries,
        caller: ParticipantCaller,
        clock: Clock,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._driver = driver
        self._inquiries = inquiries
        self._caller = caller
        self._clock = clock

    async def repair(self, participant: Participant, owner: Owner) -> str:
        """Do what an inquiry says about a branch; return what was done.

        That is: published, confirmed, cancelled; driven (what the driver has to do anyway, at once); waiting
        (there is nothing to do yet); refused or unanswered (the participant said no, or nothing certain).
        """
        ruling = await self._inquiries.inquire(owner.transaction_id, owner.branch_id)
        if ruling.decision == "wait":
            return "waiting"
        transaction = await self._read(owner.transaction_id)
        branch = transaction.branch(owner.branch_id) or Branch(owner.branch_id, participant.name, {})
        if branch.state in (BranchState.CONFIRMING, BranchState.CANCELLING) and branch.dead_letter is None:
            return await self._drive(transaction)
        if ruling.decision == "cancel":
            return await self._call(Phase.CANCEL, transaction, branch)
        if participant.topic is None:
            return await self._call(Phase.CONFIRM, transaction, branch)
        return await self._publish(owner)

    async def _drive(self, transaction: Transaction) -> str:
        driven = await self._driver.change(
            transaction.transaction_id, lambda found: hurry(found, self._clock.now()), kind="reconciled"
        )
        self._driver.drive_behind(driven)
        return "driven"

    async def _publish(self, owner: Owner) -> str:
        def work(connection: Connection) -> bool:
            transaction = log.read(connection, owner.transaction_id)
            branch = None if transaction is None else transaction.branch(owner.branch_id)
            if transaction is None or branch is None or transaction.state not in TO_CONFIRM:
                return False
            now = self._clock.now()
            self._outbox.add(connection, [self._driver.confirm_of(transaction, branch, now)])
            log.note(connection, owner.transaction_id, [self._event(branch, "published")])
            return True

        return "published" if await self._database.write(work) else "waiting"

    async def _call(self, phase: Phase, transaction: Transaction, branch: Branch) -> str:
        timeline = Attempts(self._clock)
        answered = await self._caller.call(transaction, Call(phase, branch), timeline)
        done = {Sort.DONE: _DONE[phase], Sort.REFUSED: "refused", Sort.UNKNOWN: "unanswered"}[answered.sort]
        events = [*timeline.take(), self._event(branch, done)]
        await self._database.write(
            lambda connection: log.note(connection, transaction.transaction_id, events)
        )
        return done

    async def _read(self, transaction_id: str) -> Transaction:
        found = await self._database.read(lambda connection: log.read(connection, transaction_id))
        assert found is not None, f"{transaction_id} has vanished since it was inquired about"
        return found

    def _event(self, branch: Branch, what: str) -> dict[str, Any]:
        names = {"branchId": branch.branch_id, "participant": branch.participant}
        return {"at": self._clock.now(), "event": "reconciled", **names, "repair": what}
