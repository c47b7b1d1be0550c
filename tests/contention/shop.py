"""A shop under contention: products on a real store, customers who order a unit each, and the count after.

Closed loop: so many customers, each of whom orders again when the last order is answered.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import bindparam, func, select, update
from sqlmodel import SQLModel

from shared.clock import SystemClock
from shared.database.port import Database
from shared.errors import Transient
from shared.tcc.fence import RESERVATION
from shared.tcc.participant import Command
from shared.tcc.protocol import Phase, State
from stock_service.claim import Item, StockClaim
from stock_service.tables import PRODUCT, TABLES
from tests.contention.contenders import Contender

PLENTY: Final = 1_000_000_000
LASTS_MS: Final = 3_600_000
LAST_UNITS: Final = 32
"""Units that are left when twice as many customers come for them at once."""


class Oversold(Exception):
    """The books don't agree with what was promised."""


@dataclass
class Slice:
    """What was measured once. seconds: wall time, cpu: CPU seconds, latencies: ms an order;
    aborts: "try again" answers, retries: looks that were in vain."""

    seconds: float = 0.0
    cpu: float = 0.0
    latencies: list[float] = field(default_factory=list)
    aborts: int = 0
    retries: int = 0


class Shop:
    """One contender's shop. name: begins the ids of its orders; products: how many there are."""

    def __init__(self, name: str, contender: Contender, database: Database, products: int) -> None:
        self._name = name
        self._contender = contender
        self._database = database
        self._products = [f"p-{number:04d}" for number in range(products)]
        self._numbers = itertools.count()
        self._clock = SystemClock()
        self._held: Counter[str] = Counter()

    async def open(self) -> None:
        """Make the tables, and put plenty of everything on the shelves."""
        rows = [_product(product_id) for product_id in self._products]
        await self._database.write(lambda each: SQLModel.metadata.create_all(each, tables=list(TABLES)))
        await self._database.write(lambda connection: connection.execute(PRODUCT.insert(), rows) and None)

    async def measure(self, in_flight: int, seconds: float) -> Slice:
        """Have so many customers order for so long; orders that are under way at the end are waited for."""
        found = Slice()
        retries = self._contender.retries()
        cpu, began = time.process_time(), time.perf_counter()
        end = began + seconds
        await self._customers(in_flight, found, lambda: time.perf_counter() < end)
        found.seconds, found.cpu = time.perf_counter() - began, time.process_time() - cpu
        found.retries = self._contender.retries() - retries
        return found

    async def sell_out(self) -> None:
        """Leave a few units of one product and have twice as many ordered at once.

        Raises Oversold unless just those are held, and nothing is held that nobody was promised.
        """
        product_id = self._products[0]
        before = self._held[product_id]
        await self._stock(product_id, before + LAST_UNITS)
        left = iter(range(2 * LAST_UNITS))
        await self._customers(2 * LAST_UNITS, Slice(), lambda: next(left, None) is not None, product_id)
        if self._held[product_id] - before != LAST_UNITS:
            raise Oversold(f"{self._name}: {self._held[product_id] - before} of {LAST_UNITS} units were held")
        await self.check()
        await self._stock(product_id, PLENTY)

    async def check(self) -> None:
        """Compare what is held with what was answered; raise Oversold where they differ."""
        rows = await self._database.read(lambda connection: connection.execute(_HELD).all())
        booked = {row.product_id: row.held for row in rows if row.held}
        if booked != self._held:
            raise Oversold(f"{self._name}: what is held is not what was promised")
        short = [row.product_id for row in rows if row.held > row.on_hand]
        if short:
            raise Oversold(f"{self._name}: more is held than is there of {short[:5]}")
        fences = await self._database.read(lambda connection: connection.execute(_FENCES).scalar_one())
        if fences != self._held.total():
            raise Oversold(f"{self._name}: {fences} reservations for {self._held.total()} units")

    async def _customers(
        self, in_flight: int, found: Slice, more: Callable[[], bool], product_id: str | None = None
    ) -> None:
        async def customer() -> None:
            while more():
                await self._order(found, product_id)

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(customer())

    async def _order(self, found: Slice, product_id: str | None) -> None:
        number = next(self._numbers)
        wanted = product_id or self._products[number % len(self._products)]
        branch_id = f"{self._name}-{number}"
        command = Command(
            phase=Phase.TRY,
            branch_id=branch_id,
            transaction_id=f"t-{branch_id}",
            claim=StockClaim(items=(Item(product_id=wanted, qty=1),), customer_id=f"c-{branch_id}"),
            expires_at=self._clock.now() + LASTS_MS,
        )
        began = time.perf_counter()
        while True:
            try:
                held = await self._contender.hold(command)
                break
            except Transient:
                found.aborts += 1
        found.latencies.append((time.perf_counter() - began) * 1000)
        self._held[wanted] += held

    async def _stock(self, product_id: str, on_hand: int) -> None:
        values = {"p": product_id, "units": on_hand}
        await self._database.write(lambda connection: connection.execute(_STOCK, values) and None)


def _product(product_id: str) -> dict[str, Any]:
    row = {"product_id": product_id, "name": product_id, "on_hand": PLENTY, "held": 0, "sold": 0}
    return row | {"purchase_limit": None, "frozen": False, "version": 1, "created_at": 0, "updated_at": 0}


_HELD: Final = select(PRODUCT.c.product_id, PRODUCT.c.on_hand, PRODUCT.c.held)
_FENCES: Final = select(func.count()).select_from(RESERVATION).where(RESERVATION.c.state == State.TRIED.value)
_STOCK: Final = (
    update(PRODUCT)
    .where(PRODUCT.c.product_id == bindparam("p"))
    .values(on_hand=bindparam("units"), version=PRODUCT.c.version + 1)
)
