"""One reconciliation from its beginning to its end.

    participants   each participant's branches, page by page, against the log
    transactions   the log, page by page, against the participants
    audits         each participant against itself
    verifying      whether what was repaired has come true

A page is all that is ever kept. Whatever can't be done (a participant is away, a repair fails) is noted, and
the rest is done all the same.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from coordinator import log, runs
from coordinator.comparison import Comparison, Finding, Owner
from coordinator.inspection import Discrepancy, Inspector, NotServed
from coordinator.participants import Participant, Registry
from coordinator.reconciliation import REPAIRABLE
from coordinator.repairs import Repairs
from coordinator.runs import Kept, Phase, Run
from coordinator.transaction import Transaction
from shared.clock import Clock
from shared.database.port import Database
from shared.errors import HandfastError, Unreachable
from shared.identity import NewId
from shared.tcc.audit import Verdict
from shared.tcc.audit_routes import FAILED

PAGE: Final = 1_000
"""Transactions that are read at a time."""
UNVERIFIED: Final = 500
"""So many repairs wait at most to be looked at again."""
VERIFY_SECONDS: Final = 10.0
VERIFY_PAUSE: Final = 0.25

_log = logging.getLogger(__name__)


class Sent(NamedTuple):
    """A repair that was sent on its way, and the finding that it is for."""

    participant: Participant
    finding: Finding
    finding_id: str


class Round:
    """Carries out one run, and writes down after each page how far it is."""

    def __init__(
        self,
        run: Run,
        *,
        database: Database,
        registry: Registry,
        inspector: Inspector,
        comparison: Comparison,
        repairs: Repairs,
        clock: Clock,
        new_id: NewId,
    ) -> None:
        self._run = run
        self._database = database
        self._registry = registry
        self._inspector = inspector
        self._comparison = comparison
        self._repairs = repairs
        self._clock = clock
        self._new_id = new_id
        self._unlisted: set[str] = set()
        self._away: set[str] = set()
        self._sent: list[Sent] = []

    async def go(self) -> None:
        """Do all of it. Raises Superseded where the run was ended by somebody else, DatabaseUnavailable."""
        self._run.total = await self._database.read(log.count_whole)
        for participant in self._registry:
            await self._list(participant)
        await self._enter(Phase.TRANSACTIONS)
        await self._read_log()
        await self._enter(Phase.AUDITS)
        for participant in self._registry:
            await self._audit(participant)
        await self._enter(Phase.VERIFYING)
        await self._verify()

    async def _enter(self, phase: Phase) -> None:
        self._run.phase = phase
        await self._save([])

    async def _list(self, participant: Participant) -> None:
        cursor: str | None = None
        try:
            while True:
                branches = await self._inspector.page(participant, cursor)
                self._run.total += branches.total or 0
                self._run.read += len(branches.seen)
                await self._take(participant, await self._comparison.listed(participant, branches))
                cursor = branches.cursor
                if cursor is None:
                    return
        except NotServed:
            self._unlisted.add(participant.name)
        except Unreachable as error:
            self._give_up(participant, error)

    async def _read_log(self) -> None:
        after: str | None = None
        while True:
            transactions = await self._database.read(
                # Of one that is shrunk participants may have forgotten everything.
                lambda connection, after=after: log.page(  # type: ignore[misc]
                    connection, whole=True, after=after, most=PAGE
                )
            )
            self._run.read += len(transactions)
            self._note_strangers(transactions)
            for participant in self._registry:
                if participant.name not in self._away:
                    await self._compare(participant, transactions)
            if len(transactions) < PAGE:
                return
            after = transactions[-1].transaction_id

    async def _compare(self, participant: Participant, transactions: Sequence[Transaction]) -> None:
        try:
            if participant.name in self._unlisted:
                findings, left = await self._comparison.read_each(participant, transactions)
                self._miss(participant.name, left)
            else:
                findings = await self._comparison.logged(participant, transactions)
        except Unreachable as error:
            self._give_up(participant, error)
        else:
            await self._take(participant, findings)

    async def _audit(self, participant: Participant) -> None:
        cursor: str | None = None
        try:
            while True:
                audit = await self._inspector.audit(participant, cursor, repair=False)
                kept = [self._kept_audit(participant, one) for one in audit.items]
                await self._save(kept)
                if not self._run.dry_run and any(_may_be_repaired(one) for one in audit.items):
                    await self._recount(participant, cursor, list(zip(audit.items, kept, strict=True)))
                cursor = audit.next_cursor
                if cursor is None:
                    return
        except NotServed:
            _log.info("%s checks nothing of its own.", participant.name)
        except Unreachable as error:
            self._give_up(participant, error)

    async def _recount(
        self, participant: Participant, cursor: str | None, found: Sequence[tuple[Discrepancy, Kept]]
    ) -> None:
        """Have what a page has shown counted again, and note what is right since.

        It is written down by now, so that neither a crash nor a lost answer takes away what was wrong: asked
        again, the participant no longer tells of what it has counted.
        """
        audit = await self._inspector.audit(participant, cursor, repair=True)
        left = {(one.kind, one.subject) for one in audit.items if not one.repaired}
        broken = {one.auditor for one in audit.items if one.kind == FAILED}
        mended = [
            kept
            for one, kept in found
            if _may_be_repaired(one) and one.auditor not in broken and (one.kind, one.subject) not in left
        ]
        for one in mended:
            self._run.mend(participant.name, one.kind, Verdict.REPAIRABLE)
        ids = [one.id for one in mended]
        await self._database.write(lambda connection: runs.mend(connection, ids, repair="recounted"))
        await self._save([])

    async def _take(self, participant: Participant, findings: Sequence[Finding]) -> None:
        """Repair what may be repaired, and keep what was found."""
        kept = []
        for finding in findings:
            may = finding.kind in REPAIRABLE
            done = await self._repair(participant, finding.owner) if may and not self._run.dry_run else None
            one = self._kept(participant, finding, done)
            kept.append(one)
            if done is not None:
                self._sent.append(Sent(participant, finding, one.id))
        await self._save(kept)
        if len(self._sent) >= UNVERIFIED:
            await self._verify()

    async def _repair(self, participant: Participant, owner: Owner) -> str:
        try:
            return await self._repairs.repair(participant, owner)
        except HandfastError as error:
            self._run.trouble(participant.name, f"Branch {owner.branch_id}: {error.detail}")
        except Exception as error:  # noqa: BLE001 - one branch that breaks must not stop the others
            _log.exception("Branch %s could not be repaired.", owner.branch_id)
            self._run.trouble(participant.name, f"Branch {owner.branch_id}: {type(error).__name__}")
        return "failed"

    async def _verify(self) -> None:
        """Wait, for a bounded time, until what was sent has come true; count what has."""
        sent, self._sent = self._sent, []
        for attempt in range(round(VERIFY_SECONDS / VERIFY_PAUSE)):
            if not sent:
                return
            if attempt:
                await asyncio.sleep(VERIFY_PAUSE)
            sent = await self._unmended(sent)

    async def _unmended(self, sent: Sequence[Sent]) -> list[Sent]:
        """Note which repairs have come true; return the others."""
        left: list[Sent] = []
        mended: list[Sent] = []
        by_participant: dict[str, list[Sent]] = defaultdict(list)
        for one in sent:
            by_participant[one.participant.name].append(one)
        for name, some in by_participant.items():
            owners = [one.finding.owner for one in some]
            try:
                still = await self._comparison.still(
                    some[0].participant, owners, bulk=name not in self._unlisted
                )
            except Unreachable as error:
                self._run.trouble(name, error.detail)
                still = set(owners)
            for one in some:
                (left if one.finding.owner in still else mended).append(one)
        if mended:
            for one in mended:
                self._run.mend(one.participant.name, one.finding.kind, Verdict.REPAIRABLE)
            ids = [one.finding_id for one in mended]
            await self._database.write(lambda connection: runs.mend(connection, ids))
            await self._save([])
        return left

    async def _save(self, kept: Sequence[Kept]) -> None:
        for one in kept:
            self._run.count(one.participant, one.kind, one.verdict)
        room = max(runs.KEPT_FINDINGS - (self._run.found - len(kept)), 0)
        self._run.updated_at = self._clock.now()
        await self._database.write(lambda connection: runs.save(connection, self._run, kept[:room]))

    def _give_up(self, participant: Participant, error: Unreachable) -> None:
        self._away.add(participant.name)
        self._run.trouble(participant.name, error.detail)

    def _miss(self, name: str, branches: int) -> None:
        if branches:
            self._run.uncompared[name] = self._run.uncompared.get(name, 0) + branches

    def _note_strangers(self, transactions: Sequence[Transaction]) -> None:
        """Count the branches of participants that are not registered any more."""
        known = {participant.name for participant in self._registry}
        for one in transactions:
            for branch in one.branches:
                if branch.participant not in known:
                    self._miss(branch.participant, 1)

    def _kept(self, participant: Participant, finding: Finding, done: str | None) -> Kept:
        owner, verdict = finding.owner, Verdict.REPAIRABLE
        if finding.kind not in REPAIRABLE:
            verdict = Verdict.PERSON
            _log.error("%s: branch %s at %s", finding.kind, owner.branch_id, participant.name)
        return Kept(
            id=self._new_id(),
            reconciliation_id=self._run.id,
            participant=participant.name,
            kind=finding.kind.value,
            subject=f"branch {owner.branch_id}",
            transaction_id=owner.transaction_id,
            branch_id=owner.branch_id,
            verdict=verdict.value,
            evidence=finding.evidence,
            repair=done,
            repaired=False,
            found_at=self._clock.now(),
        )

    def _kept_audit(self, participant: Participant, one: Discrepancy) -> Kept:
        return Kept(
            id=self._new_id(),
            reconciliation_id=self._run.id,
            participant=participant.name,
            kind=one.kind[:64],
            subject=one.subject,
            transaction_id=None,
            branch_id=None,
            verdict=one.verdict.value,
            evidence=one.evidence,
            repair=None,
            repaired=False,
            found_at=self._clock.now(),
        )


def _may_be_repaired(one: Discrepancy) -> bool:
    return one.verdict is Verdict.REPAIRABLE
