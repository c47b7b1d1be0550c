"""The gate outside the database: it decides first, and the journal believes it as far as it can count itself.

What keeps the two together is the drop's epoch. The scripts count only under the epoch that they are asked
for, and the journal writes down nothing that was let in under another than the drop's own. So a gate that was
emptied, or is not the latest, is found out by the next claim: a new epoch begins in the database, whatever
was let in before and isn't journaled has to be asked for again, and the passes of all live claims are put up
anew before anybody is let in.

A pass whose claim was not journaled is given back at once, or, where the gate can't be reached, as soon as it
can; what a crash leaves behind, the audit finds (`stock_service.drops.audit`).
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import Connection

from shared.clock import Clock, Millis
from shared.database.port import Database
from shared.errors import NotFound, Refused, Transient
from shared.messaging.failure import redact
from stock_service.drops import claims, offers
from stock_service.drops.claims import Claim
from stock_service.drops.domain import already_claimed, closed, sold_out, unknown_drop
from stock_service.drops.entry import Declined, Entered, Stale, Verdict, Want
from stock_service.drops.journal import Journal
from stock_service.drops.offers import Offer
from stock_service.drops.passes import Answer, Ask, Pass, Passes

PAGE: Final = 500
LOOK_SECONDS: Final = 1.0
"""Seconds between two looks whether the gate can be reached."""
MOST_KNOWN: Final = 1_000
"""Drops whose terms are kept at hand."""
MOST_IN_DOUBT: Final = 10_000
"""Passes that are remembered to be given back once the gate can be reached; the audit finds the others."""

_Unit = tuple[str, Pass]  # of which drop
_log = logging.getLogger(__name__)


class OutsideGate:
    """A Gate whose count is elsewhere."""

    def __init__(
        self,
        passes: Passes,
        database: Database,
        journal: Journal,
        clock: Clock,
        registry: CollectorRegistry | None = None,
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._passes = passes
        self._database = database
        self._journal = journal
        self._clock = clock
        self._known: dict[str, Offer] = {}
        self._look_seconds = look_seconds
        self._in_doubt: deque[_Unit] = deque(maxlen=MOST_IN_DOUBT)
        self._building = asyncio.Lock()
        self._wake = asyncio.Event()
        self._problem: str | None = "the gate was not looked at yet"
        self._rebuilt = Counter(
            "handfast_drop_gate_rebuilds", "Gates that were built from the journal.", registry=registry
        )
        database.on_commit(self._after_commit)

    async def enter(self, wants: Sequence[Want]) -> Sequence[Verdict | Stale]:
        known = await self._offers_of({want.code for want in wants})
        heard = await self._ask(wants, known)
        verdicts: list[Verdict | Stale] = [
            Declined(answer) if isinstance(answer, Refused) else Stale() for answer in heard
        ]
        # What is let in is journaled; what isn't, but has a key, is remembered under it.
        places = [
            place
            for place, answer in enumerate(heard)
            if answer is None or (isinstance(answer, Refused) and wants[place].intent is not None)
        ]
        if places:
            journaled = await self._write_down([_told(wants[p], heard[p]) for p in places], known)
            for place, verdict in zip(places, journaled, strict=True):
                verdicts[place] = verdict
        return verdicts

    async def renew(self, code: str) -> None:
        """Build a drop's gate anew; where that can't be done now, the next claim finds it stale."""
        try:
            await self.build(code)
        except NotFound:
            _log.warning("Drop %s is gone.", code)
        except Transient as error:
            _log.warning("The gate of drop %s can't be built now: %s", code, error.detail)

    async def build(self, code: str) -> None:
        """Begin a new epoch of a drop, with the passes of its live claims; raise NotFound or Transient."""
        async with self._building:
            self._known.pop(code, None)
            # Later than the gate's own, too: the database may have been set back, and the clock with it.
            later = max(self._clock.now(), (await self._passes.epoch(code) or 0) + 1)
            offer = await self._database.write(lambda connection: offers.begin_epoch(connection, code, later))
            count = 0
            async for page in live_pages(self._database, code):
                await self._passes.stage(code, offer.epoch, [pass_of(claim) for claim in page])
                count += len(page)
            if await self._passes.install(code, offer.epoch, count):
                self._keep(offer)
                self._rebuilt.inc()
                _log.info("The gate of drop %s is built from the journal: %d claims hold units.", code, count)

    async def run(self) -> None:
        """See whether the gate can be reached, and tell it of what was returned, until cancelled."""
        try:
            while True:
                self._wake.clear()
                try:
                    await self._passes.ping()
                    await self.tell_returns()
                except Transient as error:
                    if self._problem != error.detail:
                        cause = error.__cause__
                        why = redact(f"{type(cause).__name__}: {cause}")
                        _log.warning("The gate can't be kept: %s (%s)", error.detail, why)
                    self._problem = error.detail
                else:
                    self._problem = None
                await self._wait()
        finally:
            await self._passes.close()

    def health(self) -> str | None:
        """Return what is wrong, or None."""
        return self._problem

    async def tell_returns(self) -> None:
        """Give back the passes of claims that were returned, and those that are in doubt."""
        await self._settle_doubts()
        while owed := await self._database.read(lambda connection: claims.owed(connection, PAGE)):
            # No gate is built meanwhile from a journal in which they were still pending.
            async with self._building:
                await self._give_back([(claim.code, pass_of(claim)) for claim in owed])
            await self._database.write(partial(self._journal.settle, told=owed))

    async def _offers_of(self, codes: Iterable[str]) -> Mapping[str, Offer]:
        now = self._clock.now()
        # Nobody is turned away by terms that another instance may have changed: those are read again.
        unknown = [
            code
            for code in codes
            if code not in self._known or closed(code, self._known[code].terms, now) is not None
        ]

        def look(connection: Connection) -> list[Offer]:
            return [offer for code in unknown if (offer := offers.find(connection, code)) is not None]

        if unknown:
            for offer in await self._database.read(look):
                self._keep(offer)
        return {code: self._known[code] for code in codes if code in self._known}

    async def _ask(self, wants: Sequence[Want], known: Mapping[str, Offer]) -> list[Refused | Stale | None]:
        """Return what the gate says to each: None where it is let in."""
        now = self._clock.now()
        heard = [_by_terms(want, known.get(want.code), now) for want in wants]
        places: dict[str, list[int]] = defaultdict(list)
        for place, refusal in enumerate(heard):
            if refusal is None:
                places[wants[place].code].append(place)
        if not places:
            return list(heard)
        answers = await self._put_to_the_gate(
            [_ask_of(known[code], [wants[p] for p in of_code], now) for code, of_code in places.items()]
        )
        said: list[Refused | Stale | None] = list(heard)
        for (code, of_code), of_drop in zip(places.items(), answers, strict=True):
            if of_drop is None:
                await self._look_again(known[code])
            for index, place in enumerate(of_code):
                said[place] = (
                    Stale() if of_drop is None else _refusal(wants[place], known[code], of_drop[index])
                )
        return said

    async def _put_to_the_gate(self, asks: Sequence[Ask]) -> list[list[Answer] | None]:
        await self._settle_doubts()
        try:
            return await self._passes.enter(asks)
        except Transient:
            # They may have been let in, and nobody will know: their customers are told that they were not.
            self._in_doubt.extend((ask.code, one) for ask in asks for one in ask.passes)
            raise

    async def _write_down(
        self, wants: Sequence[Want], known: Mapping[str, Offer]
    ) -> Sequence[Verdict | Stale]:
        """Journal what was let in; what can't be is given back at once."""
        epochs = {code: offer.epoch for code, offer in known.items()}
        try:
            verdicts = await self._database.write(
                lambda connection: self._journal.enter_from(connection, wants, epochs)
            )
        except BaseException:
            await self._take_back([_unit(want) for want in wants if want.refusal is None])
            raise
        pairs = [pair for pair in zip(wants, verdicts, strict=True) if pair[0].refusal is None]
        await self._take_back([_unit(want) for want, verdict in pairs if _is_void(want, verdict)])
        for code in {want.code for want, verdict in pairs if isinstance(verdict, Stale)}:
            self._known.pop(code, None)
        for code in {w.code for w, verdict in pairs if isinstance(verdict, Declined) and verdict.counted}:
            _log.warning("The gate of drop %s let in more than the journal can take.", code)
            await self.renew(code)
        return verdicts

    async def _look_again(self, asked: Offer) -> None:
        """See whether the gate is of another epoch because the drop is; otherwise build it."""
        self._known.pop(asked.code, None)
        current = (await self._offers_of([asked.code])).get(asked.code)
        if current is not None and current.epoch == asked.epoch:
            await self.renew(asked.code)

    async def _take_back(self, units: Sequence[_Unit]) -> None:
        """Give units back, now or as soon as the gate can be reached."""
        try:
            await self._give_back(units)
        except Transient:
            self._in_doubt.extend(units)

    async def _settle_doubts(self) -> None:
        if self._in_doubt:
            units = list(self._in_doubt)
            self._in_doubt.clear()
            await self._take_back(units)

    async def _give_back(self, units: Sequence[_Unit]) -> None:
        by_code: dict[str, list[Pass]] = defaultdict(list)
        for code, one in units:
            by_code[code].append(one)
        for code, passes in by_code.items():
            await self._passes.give_back(code, passes)

    def _keep(self, offer: Offer) -> None:
        self._known.pop(offer.code, None)
        self._known[offer.code] = offer
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def _after_commit(self) -> None:
        if self._journal.take_owing():
            self._wake.set()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._look_seconds):
                await self._wake.wait()
        except TimeoutError:
            return


def pass_of(claim: Claim) -> Pass:
    """Return the pass that a live claim has."""
    return Pass(claim.id, claim.customer_id, claim.created_at, claim.slot)


async def live_pages(database: Database, code: str) -> AsyncIterator[list[Claim]]:
    """Yield a drop's live claims, page by page."""
    after = ""
    while page := await database.read(partial(claims.live_page, code=code, after=after, most=PAGE)):
        yield page
        after = page[-1].id


def _ask_of(offer: Offer, wants: Sequence[Want], now: Millis) -> Ask:
    passes = [Pass(want.claim_id, want.customer_id, now) for want in wants]
    return Ask(offer.code, offer.epoch, offer.quantity, offer.per_customer, passes)


def _by_terms(want: Want, offer: Offer | None, now: Millis) -> Refused | None:
    """Say what needs no count."""
    if offer is None:
        return unknown_drop(want.code)
    return None if want.again else closed(want.code, offer.terms, now)


def _refusal(want: Want, offer: Offer, answer: Answer) -> Refused | None:
    if answer is Answer.SOLD_OUT:
        return sold_out(want.code)
    if answer is Answer.ALREADY_CLAIMED:
        return already_claimed(want.code, want.customer_id, offer.per_customer)
    return None


def _told(want: Want, answer: Refused | Stale | None) -> Want:
    return want._replace(refusal=answer) if isinstance(answer, Refused) else want


def _unit(want: Want) -> _Unit:
    return want.code, Pass(want.claim_id, want.customer_id, 0)


def _is_void(want: Want, verdict: Verdict | Stale) -> bool:
    """Say whether the pass that was given to a want holds a unit for nobody.

    A stale one goes with its epoch. A claim that can't be issued again has the pass that it came with.
    """
    if isinstance(verdict, Entered):
        return verdict.repeated
    return isinstance(verdict, Declined) and (verdict.counted or not want.again)
