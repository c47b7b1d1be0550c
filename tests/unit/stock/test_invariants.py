"""Whatever is held, sold, put back, adjusted, limited and frozen, in whatever order: the sums are right."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from sqlalchemy import Connection, select
from sqlmodel import SQLModel

from shared.database.inline import InlineDatabase
from shared.errors import Refused, Transient
from shared.tcc.participant import Context
from stock_service import products
from stock_service.claim import Item, StockClaim
from stock_service.participant import put_back, sell
from stock_service.tables import ADJUSTMENT, PURCHASE, TABLES
from tests.unit.stock.holds import HOLDS, Act

PRODUCTS = st.sampled_from(["a", "b"])
CUSTOMERS = st.sampled_from(["ada", "bob"])
UNITS = st.integers(1, 6)
NOW = Context("branch", None, 1)


class StockMachine(RuleBasedStateMachine):
    """Compares the database with a model that keeps every held claim in a list."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.database = InlineDatabase()
        asyncio.run(self.database.start())
        self.database.write_now(lambda connection: SQLModel.metadata.create_all(connection, TABLES))
        self.on_hand: Counter[str] = Counter()
        self.holding: list[StockClaim] = []
        self.sold: Counter[tuple[str, str]] = Counter()
        self.limits: dict[str, int | None] = {}
        self.frozen: dict[str, bool] = {}
        self.adjusted = 0

    def teardown(self) -> None:
        asyncio.run(self.database.close())

    @rule(
        product_id=PRODUCTS,
        on_hand=st.integers(0, 12),
        limit=st.none() | st.integers(1, 8),
        frozen=st.booleans(),
    )
    def put(self, product_id: str, on_hand: int, limit: int | None, frozen: bool) -> None:
        self.adjusted += 1
        changes = {"on_hand": on_hand, "purchase_limit": limit, "frozen": frozen}

        def work(connection: Connection) -> None:
            identity = f"{self.adjusted:06d}"
            products.put(
                connection, product_id, changes, allowed=lambda _: True, adjustment_id=identity, now=1
            )

        if on_hand < self._held(product_id):
            self._refused(work, "below-held")
        else:
            self.database.write_now(work)
            self.on_hand[product_id] = on_hand
            self.limits[product_id], self.frozen[product_id] = limit, frozen

    @rule(product_id=PRODUCTS, delta=st.integers(-6, 6))
    def adjust(self, product_id: str, delta: int) -> None:
        self.adjusted += 1

        def work(connection: Connection) -> None:
            identity = f"{self.adjusted:06d}"
            products.adjust(connection, product_id, delta, "count", adjustment_id=identity, now=1)

        if product_id not in self.limits:
            self._refused(work, "not-found")
        elif self.on_hand[product_id] + delta < self._held(product_id):
            self._refused(work, "below-held")
        else:
            self.database.write_now(work)
            self.on_hand[product_id] += delta

    @rule(
        target=held,
        customer_id=CUSTOMERS,
        quantities=st.dictionaries(PRODUCTS, UNITS, min_size=1),
        hold=st.sampled_from(list(HOLDS.values())),
    )
    def hold(self, customer_id: str, quantities: dict[str, int], hold: Act) -> StockClaim | None:
        items = tuple(Item(product_id=product_id, qty=qty) for product_id, qty in quantities.items())
        claim = StockClaim(items=items, customer_id=customer_id)
        slug = self._expected(claim)
        if slug is not None:
            self._refused(lambda connection: hold(connection, claim, NOW), slug)
            return None
        self.database.write_now(lambda connection: hold(connection, claim, NOW))
        self.holding.append(claim)
        return claim

    @rule(claim=consumes(held))
    def sell(self, claim: StockClaim | None) -> None:
        if claim is None:
            return
        if any(self.frozen[line.product_id] for line in claim.lines):
            with pytest.raises(Transient):
                self.database.write_now(lambda connection: sell(connection, claim, NOW))
            return
        self.database.write_now(lambda connection: sell(connection, claim, NOW))
        self.holding.remove(claim)
        for line in claim.lines:
            self.on_hand[line.product_id] -= line.qty
            self.sold[line.product_id, claim.customer_id] += line.qty

    @rule(claim=consumes(held))
    def put_back(self, claim: StockClaim | None) -> None:
        if claim is not None:
            self.database.write_now(lambda connection: put_back(connection, claim, NOW))
            self.holding.remove(claim)

    @invariant()
    def the_counters_are_the_models(self) -> None:
        rows = self.database.write_now(lambda connection: products.page(connection, "", 10))
        assert {row.product_id: (row.on_hand, row.held) for row in rows} == {
            product_id: (self.on_hand[product_id], self._held(product_id)) for product_id in self.limits
        }
        for row in rows:
            assert row.level.available >= 0
            assert row.sold == sum(qty for (product_id, _), qty in self.sold.items() if product_id == row[0])

    @invariant()
    def the_sums_are_right(self) -> None:
        rows = self.database.write_now(lambda connection: products.page(connection, "", 10))
        recorded = self.database.write_now(lambda connection: connection.execute(select(ADJUSTMENT)).all())
        for row in rows:
            assert row.on_hand + row.sold == sum(
                each.delta for each in recorded if each.product_id == row.product_id
            )

    @invariant()
    def the_purchases_are_the_models(self) -> None:
        rows = self.database.write_now(lambda connection: connection.execute(select(PURCHASE)).all())
        counted = {(row.product_id, row.customer_id): (row.held, row.sold) for row in rows}
        for product_id in "ab":
            for customer_id in ("ada", "bob"):
                expected = (self._held(product_id, customer_id), self.sold[product_id, customer_id])
                assert counted.get((product_id, customer_id), (0, 0)) == expected

    def _expected(self, claim: StockClaim) -> str | None:
        """Return the slug with which the claim must be refused, or None."""
        for line in claim.lines:
            product_id = line.product_id
            if product_id not in self.limits:
                return "unknown-product"
            if self.frozen[product_id]:
                return "product-frozen"
            if self.on_hand[product_id] - self._held(product_id) < line.qty:
                return "insufficient-stock"
            limit = self.limits[product_id]
            taken = self._held(product_id, claim.customer_id) + self.sold[product_id, claim.customer_id]
            if limit is not None and taken + line.qty > limit:
                return "purchase-limit-reached"
        return None

    def _held(self, product_id: str, customer_id: str | None = None) -> int:
        return sum(
            line.qty
            for claim in self.holding
            for line in claim.lines
            if line.product_id == product_id and customer_id in (None, claim.customer_id)
        )

    def _refused(self, work: Callable[[Connection], None], slug: str) -> None:
        with pytest.raises(Refused) as refused:
            self.database.write_now(work)
        assert refused.value.slug == slug


TestStock = StockMachine.TestCase
TestStock.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
