"""Compares the log with what participants have, both ways, a page at a time.

What looks wrong is only suspected: the log and the participant were read one after the other, and something
may have moved in between. So each suspicion is looked at again, the log first, then the participant, then the
log once more. Where the log says the same before and after, it said so at the moment in between at which the
participant was read, as if both had been read at once.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from coordinator import log
from coordinator.inspection import Branches, Inspector
from coordinator.participants import Participant
from coordinator.reconciliation import ASKED_ABOUT, Kind, Patience, Seen, finding, judge, standing
from coordinator.transaction import Transaction
from shared.clock import Clock, Millis, iso
from shared.database.port import Database
from shared.tcc.protocol import State


class Owner(NamedTuple):
    """A branch by its names."""

    transaction_id: str
    branch_id: str


class Finding(NamedTuple):
    """A branch about which both sides don't agree. evidence: plain JSON that shows it."""

    kind: Kind
    owner: Owner
    evidence: Mapping[str, Any]


class Comparison:
    """grace: the age up to which a difference is late, in ms; lag: how far the coordinator's own consumer is
    behind, None where it can't tell."""

    def __init__(
        self,
        *,
        database: Database,
        inspector: Inspector,
        clock: Clock,
        grace: Millis,
        lag: Callable[[], int | None],
    ) -> None:
        self._database = database
        self._inspector = inspector
        self._clock = clock
        self._grace = grace
        self._lag = lag

    async def listed(self, participant: Participant, branches: Branches) -> list[Finding]:
        """Compare branches that a participant listed with the log; raise Unreachable where it went away."""
        owned = [(seen.transaction_id, seen) for seen in branches.seen if seen.transaction_id is not None]
        transactions = await self._read({transaction_id for transaction_id, _ in owned})
        now, patience = self._clock.now(), self._patience(participant, branches.lag)
        suspects = [
            Owner(transaction_id, seen.branch_id)
            for transaction_id, seen in owned
            if judge(transactions.get(transaction_id), seen, now, patience) is not None
        ]
        return await self._look_again(participant, suspects)

    async def logged(self, participant: Participant, transactions: Sequence[Transaction]) -> list[Finding]:
        """Look for branches that a participant must have and doesn't list, or lists as somebody else's."""
        now, patience = self._clock.now(), self._patience(participant, 0)
        asked = [
            Owner(one.transaction_id, branch_id)
            for one, branch_id in branches_of(participant, transactions)
            if standing(one, branch_id) in ASKED_ABOUT
            and judge(one, _absent(branch_id), now, patience) is not None
        ]
        seen, _ = await self._look(participant, asked)
        suspects = [one for one in asked if seen[one.branch_id].transaction_id != one.transaction_id]
        return await self._look_again(participant, suspects)

    async def read_each(
        self, participant: Participant, transactions: Sequence[Transaction]
    ) -> tuple[list[Finding], int]:
        """Compare with a participant that lists nothing; return also how many branches it doesn't tell of."""
        known = {branch_id: one for one, branch_id in branches_of(participant, transactions)}
        owners = [Owner(one.transaction_id, branch_id) for branch_id, one in known.items()]
        seen, lag = await self._look(participant, owners, bulk=False)
        now, patience = self._clock.now(), self._patience(participant, lag)
        suspects = [
            one
            for one in owners
            if one.branch_id in seen
            and judge(known[one.branch_id], seen[one.branch_id], now, patience) is not None
        ]
        return await self._look_again(participant, suspects, bulk=False), len(owners) - len(seen)

    async def still(
        self, participant: Participant, owners: Sequence[Owner], *, bulk: bool = True
    ) -> set[Owner]:
        """Return those of some branches about which the two sides don't agree, however young that is."""
        seen, _ = await self._look(participant, owners, bulk=bulk)
        transactions = await self._read({one.transaction_id for one in owners})
        return {
            one
            for one in owners
            if one.branch_id not in seen
            or finding(transactions.get(one.transaction_id), seen[one.branch_id]) is not None
        }

    async def _look_again(
        self, participant: Participant, suspects: Sequence[Owner], *, bulk: bool = True
    ) -> list[Finding]:
        if not suspects:
            return []
        transaction_ids = {one.transaction_id for one in suspects}
        before = await self._read(transaction_ids)
        seen, lag = await self._look(participant, suspects, bulk=bulk)
        after = await self._read(transaction_ids)
        now, patience = self._clock.now(), self._patience(participant, lag)
        findings = []
        for one in suspects:
            transaction = after.get(one.transaction_id)
            stands = standing(transaction, one.branch_id)
            if one.branch_id not in seen or stands != standing(before.get(one.transaction_id), one.branch_id):
                continue
            kind = judge(transaction, seen[one.branch_id], now, patience)
            if kind is not None:
                evidence = _evidence(transaction, seen[one.branch_id], lag)
                findings.append(Finding(kind, one, evidence))
        return findings

    async def _look(
        self, participant: Participant, owners: Sequence[Owner], *, bulk: bool = True
    ) -> tuple[dict[str, Seen], int | None]:
        """Read branches of a participant. Asked in bulk, it tells also which it doesn't have."""
        if not owners:
            return {}, 0
        if not bulk:
            read = await self._inspector.read_each(participant, owners)
            return {seen.branch_id: seen for seen in read}, 0
        branches = await self._inspector.look_up(participant, [one.branch_id for one in owners])
        absent = {one.branch_id: _absent(one.branch_id) for one in owners}
        return absent | {seen.branch_id: seen for seen in branches.seen}, branches.lag

    async def _read(self, transaction_ids: Collection[str]) -> dict[str, Transaction]:
        return await self._database.read(lambda connection: log.read_bulk(connection, transaction_ids))

    def _patience(self, participant: Participant, lag: int | None) -> Patience:
        behind = participant.topic is not None and lag != 0
        return Patience(self._grace, behind=behind, deaf=self._lag() != 0)


def branches_of(
    participant: Participant, transactions: Sequence[Transaction]
) -> Iterator[tuple[Transaction, str]]:
    """Yield a participant's branches, each with its transaction."""
    for one in transactions:
        for branch in one.branches:
            if branch.participant == participant.name:
                yield one, branch.branch_id


def _absent(branch_id: str) -> Seen:
    return Seen(branch_id, None, State.ABSENT)


def _evidence(transaction: Transaction | None, seen: Seen, lag: int | None) -> dict[str, Any]:
    """Return what both sides say, as plain JSON."""
    there: dict[str, Any] = {"state": seen.state.value, "transactionId": seen.transaction_id, "lag": lag}
    if seen.expires_at is not None:
        there["expires"] = iso(seen.expires_at)
    if seen.letter:
        there["letter"] = True
    here: dict[str, Any] = {"branch": standing(transaction, seen.branch_id).value}
    if transaction is not None:
        here["transaction"] = transaction.state.value
        if transaction.decided_at is not None:
            here["decidedAt"] = iso(transaction.decided_at)
    return {"coordinator": here, "participant": there}
