"""What is checked of drops: counters against claims, and a gate outside against the journal, both ways.

Counters are compared within one snapshot, so nothing in them can be merely late. Between gate and journal
something always is: a claim that was let in a moment ago is not journaled yet, one that was returned is not
yet given back. So whatever is younger than the grace time is left alone, and what is older is looked at once
more before it is touched.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from sqlalchemy import Connection, case, literal, or_, select, update

from shared.clock import Clock, Millis
from shared.database.port import Database
from shared.errors import Transient
from shared.tcc.audit import Auditor, Discrepancy, Ledger, LedgerAudit, Verdict, evidence_of
from shared.tcc.sums import Sums
from stock_service.drops import claims, offers
from stock_service.drops.domain import ClaimState, closed
from stock_service.drops.offers import Offer
from stock_service.drops.outside import OutsideGate, live_pages, pass_of
from stock_service.drops.passes import Pass, Passes
from stock_service.drops.tables import DROP_CLAIM, DROP_OFFER, LIVE

_log = logging.getLogger(__name__)

FAILED: Final = "drop-audit-failed"
"""The kind of what is found where the check of one drop breaks: the others are checked all the same."""


class DropSums(NamedTuple):
    """A drop's counters, and what its claims add up to. known: 0 where there is no such drop."""

    code: str
    known: int
    quantity: int
    taken: int
    issued: int
    live_sum: int
    issued_sum: int


def counter_audit(database: Database, clock: Clock) -> Auditor:
    """Return the check of the drops' counters: what is taken and issued, by COUNT."""
    return LedgerAudit(_DROPS, database, clock)


class GateAudit:
    """The Auditor of a gate outside. grace_ms: what is younger may be merely late."""

    name = "drop-gates"

    def __init__(
        self, gate: OutsideGate, passes: Passes, database: Database, clock: Clock, grace_ms: Millis
    ) -> None:
        self._gate = gate
        self._passes = passes
        self._database = database
        self._clock = clock
        self._grace_ms = grace_ms

    async def audit(self, *, repair: bool, after: str, most: int) -> AsyncIterator[Discrepancy]:
        code = after.partition(" ")[0]
        offer = None if not code else await self._database.read(partial(offers.find, code=code))
        while most > 0:
            if offer is not None:
                for found in await self._audit_one(offer, after, most, repair=repair):
                    if found.place > after:
                        yield found
                        most -= 1
            following = await self._database.read(partial(offers.page, after=code, most=1))
            if not following:
                return
            (offer,) = following
            code = offer.code

    async def _audit_one(self, offer: Offer, after: str, most: int, *, repair: bool) -> Sequence[Discrepancy]:
        """Return up to `most` things that are wrong with one drop's gate, in the order of places."""
        try:
            epoch = await self._passes.epoch(offer.code)
            if epoch != offer.epoch:
                return await self._stale(offer, epoch, repair=repair)
            stuck = [(_place_of_stuck(offer, one), one) async for one in self._stuck(offer.code)]
            lacking = [(_place_of_lacking(offer, one), one) async for one in self._lacking(offer.code)]
            wrong = [
                *[(place, self._judge_stuck, one) for place, one in sorted(stuck)],
                *[(place, self._judge_lacking, one) for place, one in sorted(lacking)],
            ]
            told = [(judge, one) for place, judge, one in wrong if place > after][:most]
            return [await judge(offer, one, repair=repair) for judge, one in told]
        except Transient:
            raise
        except Exception as error:  # noqa: BLE001 - one drop whose check breaks must not stop the others
            _log.exception("The audit of drop %s broke.", offer.code)
            evidence = {"error": type(error).__name__}
            return [Discrepancy(FAILED, f"drop {offer.code}", Verdict.PERSON, f"{offer.code} 0", evidence)]

    async def _stale(self, offer: Offer, epoch: int | None, *, repair: bool) -> Sequence[Discrepancy]:
        """Tell of a gate of another epoch; one that isn't there and isn't needed now is none."""
        if epoch is None and (offer.taken == 0 or closed(offer.code, offer.terms, self._clock.now())):
            return []
        if repair:
            await self._gate.build(offer.code)
        return [
            Discrepancy(
                "gate-stale",
                f"drop {offer.code}",
                Verdict.REPAIRABLE,
                f"{offer.code} 0",
                {"gateEpoch": epoch, "epoch": offer.epoch, "claims": offer.taken},
                repaired=repair,
            )
        ]

    async def _stuck(self, code: str) -> AsyncIterator[Pass]:
        """Yield passes that no live claim stands for, and should have by now."""
        cursor = 0
        while True:
            cursor, page = await self._passes.page(code, cursor)
            for one in await self._without_claim(page):
                yield one
            if cursor == 0:
                return

    async def _without_claim(self, passes: Sequence[Pass]) -> list[Pass]:
        since = self._clock.now() - self._grace_ms
        ids = [one.claim_id for one in passes]
        known = await self._database.read(lambda connection: claims.known_among(connection, ids))
        found = []
        for one in passes:
            claim = known.get(one.claim_id)
            at = one.at if claim is None else claim.updated_at
            if (claim is None or claim.state is ClaimState.RETURNED) and at < since:
                found.append(one)
        return found

    async def _lacking(self, code: str) -> AsyncIterator[Pass]:
        """Yield the passes of live claims that are not there, and should be by now."""
        async for page in live_pages(self._database, code):
            since = self._clock.now() - self._grace_ms
            due = [pass_of(claim) for claim in page if claim.updated_at < since]
            for one in await self._passes.lacking(code, due) if due else []:
                yield one

    async def _judge_stuck(self, offer: Offer, one: Pass, *, repair: bool) -> Discrepancy:
        repaired = False
        if repair and await self._without_claim([one]):
            repaired = await self._passes.give_back(offer.code, [one]) == 1
        return Discrepancy(
            "pass-without-claim",
            f"drop {offer.code}, customer {one.customer_id}",
            Verdict.REPAIRABLE,
            _place_of_stuck(offer, one),
            {"claimId": one.claim_id, "since": one.at},
            repaired,
        )

    async def _judge_lacking(self, offer: Offer, one: Pass, *, repair: bool) -> Discrepancy:
        repaired = False
        if repair:
            live = await self._database.read(
                lambda connection: claims.known_among(connection, [one.claim_id])
            )
            if live[one.claim_id].state is not ClaimState.RETURNED:
                repaired = await self._passes.restore(offer.code, offer.epoch, [one]) == 1
        return Discrepancy(
            "claim-without-pass",
            f"drop {offer.code}, customer {one.customer_id}",
            Verdict.REPAIRABLE,
            _place_of_lacking(offer, one),
            {"claimId": one.claim_id},
            repaired,
        )


def _place_of_stuck(offer: Offer, one: Pass) -> str:
    return f"{offer.code} 1 {one.claim_id}"


def _place_of_lacking(offer: Offer, one: Pass) -> str:
    return f"{offer.code} 2 {one.claim_id}"


def _differing(connection: Connection, after: str, most: int) -> Sequence[DropSums]:
    return [DropSums(*row) for row in _DROP_SUMS.differing(connection, after, most)]


def _judge(one: DropSums) -> list[Discrepancy]:
    subject = f"drop {one.code}"
    if not one.known:
        sums = {"live": one.live_sum, "issued": one.issued_sum}
        return [Discrepancy("drop-missing", subject, Verdict.PERSON, one.code, sums)]
    counters = {"taken": (one.taken, one.live_sum), "issued": (one.issued, one.issued_sum)}
    wrong = {name: pair for name, pair in counters.items() if pair[0] != pair[1]}
    evidence = evidence_of(wrong)
    if one.live_sum > one.quantity:
        evidence["quantity"] = one.quantity
        return [Discrepancy("drop-exceeded", subject, Verdict.PERSON, one.code, evidence)]
    return [Discrepancy("counter-differs", subject, Verdict.REPAIRABLE, one.code, evidence)]


def _lock(connection: Connection, rows: Sequence[DropSums]) -> None:
    for row in rows:
        offers.lock(connection, row.code)


def _recount(connection: Connection, one: DropSums, _now: Millis) -> bool:
    if not one.known or one.live_sum > one.quantity:
        return False
    counted = {"taken": one.live_sum, "issued": one.issued_sum}
    statement = update(DROP_OFFER).where(DROP_OFFER.c.code == one.code)
    return connection.execute(statement.values(counted)).rowcount == 1


_DROP_SUMS: Final = Sums(
    ("code",),
    DropSums._fields[1:],
    [
        select(
            DROP_OFFER.c.code,
            literal(1).label("known"),
            DROP_OFFER.c.quantity,
            DROP_OFFER.c.taken,
            DROP_OFFER.c.issued,
        ),
        select(
            DROP_CLAIM.c.code,
            literal(1).label("live_sum"),
            case((DROP_CLAIM.c.state == ClaimState.ISSUED.value, 1), else_=0).label("issued_sum"),
        ).where(LIVE),
    ],
    lambda of: or_(of["known"] == 0, of["taken"] != of["live_sum"], of["issued"] != of["issued_sum"]),
)
_DROPS: Final = Ledger("drops", _differing, _judge, _lock, _recount)
