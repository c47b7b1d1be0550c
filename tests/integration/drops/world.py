"""Drops without a program around them: a journal, either gate, and trouble between the two."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection
from sqlmodel import SQLModel

from shared.clock import Millis
from shared.database.port import Database, Work
from shared.errors import DatabaseUnavailable, Refused, Transient
from shared.idempotency import Intent
from shared.messaging.outbox import Outbox, oldest
from stock_service.drops import claims, offers
from stock_service.drops.claims import Claim
from stock_service.drops.desk import Desk
from stock_service.drops.domain import ClaimState, ReturnReason
from stock_service.drops.entry import Entered, Want
from stock_service.drops.gate import DatabaseGate, Gate
from stock_service.drops.journal import Journal
from stock_service.drops.messages import Issue, read_issue
from stock_service.drops.offers import Offer
from stock_service.drops.outside import OutsideGate
from stock_service.drops.passes import Answer, Ask, GateUnavailable, Pass
from stock_service.drops.valkey import ValkeyPasses
from stock_service.tables import TABLES

CODE = "launch"


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at: Millis = 1_800_000_000_000

    def now(self) -> Millis:
        return self.at


class FailingDatabase:
    """A store over another, whose writes fail while `fails` says so; before_write is called first."""

    fails = False
    before_write: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, real: Database) -> None:
        self._real = real
        self.start, self.read = real.start, real.read
        self.on_commit, self.close = real.on_commit, real.close

    async def write(self, work: Work[Any]) -> Any:
        self.before_write()
        if self.fails:
            raise DatabaseUnavailable("The disk is full.")
        return await self._real.write(work)


class TroubledPasses(ValkeyPasses):
    """The real passes; away: out of reach; deaf: the next answers to `enter` are lost; before_enter and
    after_enter: something happens in between."""

    away = False
    deaf = 0
    entered = 0

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.after_enter: Callable[[], Awaitable[object]] | None = None
        self.before_install: Callable[[], Awaitable[object]] | None = None

    async def enter(self, asks: Sequence[Ask]) -> list[list[Answer] | None]:
        self._check()
        self.entered += 1
        answers = await super().enter(asks)
        if self.after_enter is not None:
            happens, self.after_enter = self.after_enter, None
            await happens()
        if self.deaf:
            self.deaf -= 1
            raise GateUnavailable
        return answers

    async def give_back(self, code: str, passes: Sequence[Pass]) -> int:
        self._check()
        return await super().give_back(code, passes)

    async def install(self, code: str, epoch: int, count: int) -> bool:
        self._check()
        if self.before_install is not None:
            happens, self.before_install = self.before_install, None
            await happens()
        return await super().install(code, epoch, count)

    async def ping(self) -> None:
        self._check()
        await super().ping()

    def _check(self) -> None:
        if self.away:
            raise GateUnavailable


@dataclass
class World:
    """Drops, as the routes would use them, and what a test wants to know of them."""

    database: FailingDatabase
    clock: HandClock
    outbox: Outbox
    journal: Journal
    gate: Gate
    desk: Desk
    passes: TroubledPasses
    has_passes: bool
    ids: Counter[str] = field(default_factory=Counter)

    @property
    def outside(self) -> OutsideGate:
        assert isinstance(self.gate, OutsideGate)
        return self.gate

    async def offer(self, quantity: int, code: str = CODE, **terms: Any) -> Offer:
        changes = {"quantity": quantity, **terms}
        put = await self.database.write(lambda c: offers.put(c, code, changes, self.clock.now()))
        if put.changed:
            await self.gate.renew(code)
        offer: Offer = put.offer
        return offer

    def want(self, customer: str, code: str = CODE, key: str | None = None, again: str | None = None) -> Want:
        self.ids["claim"] += 1
        intent = None if key is None else Intent(f"claims:{code}", key, customer)
        claim_id = again or f"{self.ids['claim']:06}"
        return Want(claim_id, code, customer, intent=intent, again=again is not None)

    async def claim(self, customer: str, **how: Any) -> str:
        """Claim a unit; return `in`, or the slug of what was said."""
        try:
            await self.desk.claim(self.want(customer, **how))
        except (Refused, Transient) as error:
            return error.slug
        return "in"

    async def enter(self, customer: str, **how: Any) -> Entered:
        return await self.desk.claim(self.want(customer, **how))

    async def all(self, *customers: str, **how: Any) -> Counter[str]:
        """Have customers claim at once; return what they were told, counted."""
        return Counter(await asyncio.gather(*(self.claim(customer, **how) for customer in customers)))

    async def give_back(self, claim_id: str) -> bool:
        def work(connection: Connection) -> bool:
            claim = claims.read(connection, claim_id)
            wanted = Issue(claimId=claim.id, code=claim.code, customerId=claim.customer_id)
            return self.journal.give_back(connection, wanted, ReturnReason.DEAD_LETTERED)

        given: bool = await self.database.write(work)
        if self.has_passes:
            await self.outside.tell_returns()
        return given

    async def read(self, code: str = CODE) -> Offer:
        return await self.database.read(lambda c: offers.read(c, code))

    async def live(self, code: str = CODE) -> list[Claim]:
        return await self.database.read(lambda c: claims.live_page(c, code, "", 10_000))

    async def held(self, code: str = CODE) -> set[str]:
        """Return the claims that have a pass."""
        found: set[str] = set()
        cursor = 0
        while True:
            cursor, page = await self.passes.page(code, cursor)
            found |= {one.claim_id for one in page}
            if cursor == 0:
                return found

    async def published(self) -> list[str]:
        """Return the claims whose records wait in the outbox."""

        def look(connection: Connection) -> list[str]:
            return [read_issue(message.value).claim_id for _, message in oldest(connection, 10_000)]

        return await self.database.read(look)

    async def check(self, code: str = CODE) -> None:
        """No unit twice, no customer beyond its share, and the counters are right, as is the gate."""
        offer, live = await self.read(code), await self.live(code)
        assert offer.taken == len(live) <= offer.quantity
        assert offer.issued == sum(claim.state is ClaimState.ISSUED for claim in live)
        shares = Counter(claim.customer_id for claim in live)
        assert all(share <= offer.per_customer for share in shares.values()), shares
        if self.has_passes and await self.passes.epoch(code) is not None:
            assert await self.held(code) == {claim.id for claim in live}


@contextlib.asynccontextmanager
async def world(url: str | None, store: Database) -> AsyncIterator[World]:
    """Have drops for the time of a block; url: of a Valkey, which is emptied, or None: no gate outside."""
    database, clock = FailingDatabase(store), HandClock()
    await database.start()
    await database.write(lambda connection: SQLModel.metadata.create_all(connection, TABLES))
    outbox = Outbox(clock)
    journal = Journal(
        outbox,
        clock,
        source="stock",
        republish_ms=10_000,
        republish_max_ms=300_000,
        gate_elsewhere=url is not None,
    )
    passes = TroubledPasses(url or "redis://127.0.0.1:1")
    gate: Gate = DatabaseGate(database, journal)
    if url is not None:
        await passes._client.flushall()
        gate = OutsideGate(passes, database, journal, clock, look_seconds=0.05)
    try:
        yield World(database, clock, outbox, journal, gate, Desk(gate), passes, url is not None)
    finally:
        await passes.close()
        await database.close()
