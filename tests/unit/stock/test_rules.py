"""Hold (by every strategy), sell and put back, over a database in memory."""

from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, select

from shared.database.inline import InlineDatabase
from shared.errors import Refused, Transient
from shared.tcc.participant import Context
from stock_service import products
from stock_service.claim import Item, StockClaim
from stock_service.participant import put_back, sell
from stock_service.tables import ADJUSTMENT, PRODUCT, PURCHASE
from tests.unit.stock.holds import HOLDS, Act

T = TypeVar("T")


class Shop:
    """A few verbs on a database of stock, held by one of the strategies."""

    def __init__(self, database: InlineDatabase, hold: Act) -> None:
        self.database = database
        self._hold = hold
        self._made = 0

    def put(self, product_id: str, **changes: Any) -> products.ProductRow:
        self._made += 1

        def work(connection: Connection) -> products.ProductRow:
            row, _ = products.put(
                connection,
                product_id,
                changes,
                allowed=lambda _: True,
                adjustment_id=f"{self._made:06d}",
                now=1,
            )
            return row

        return self.database.write_now(work)

    def hold(self, claim: StockClaim) -> None:
        self.do(self._hold, claim)

    def do(self, act: Act, claim: StockClaim) -> None:
        self.database.write_now(lambda connection: act(connection, claim, Context("b", None, 2)))

    def counts(self, product_id: str) -> tuple[int, int, int]:
        row = self.database.write_now(lambda connection: products.read(connection, product_id))
        return row.on_hand, row.held, row.sold

    def purchases(self) -> dict[tuple[str, str], tuple[int, int]]:
        rows = self.database.write_now(lambda connection: connection.execute(select(PURCHASE)).all())
        return {(row.product_id, row.customer_id): (row.held, row.sold) for row in rows}


@pytest.fixture(params=HOLDS)
def shop(request: pytest.FixtureRequest, database: InlineDatabase) -> Shop:
    return Shop(database, HOLDS[request.param])


def of(product_id: str, qty: int, customer_id: str = "ada") -> StockClaim:
    return StockClaim(product_id=product_id, qty=qty, customer_id=customer_id)


def several(customer_id: str = "ada", **quantities: int) -> StockClaim:
    items = tuple(Item(product_id=product_id, qty=qty) for product_id, qty in quantities.items())
    return StockClaim(items=items, customer_id=customer_id)


def slug_of(refused: pytest.ExceptionInfo[Refused]) -> tuple[str, int]:
    return refused.value.slug, refused.value.status


def test_a_hold_takes_from_what_is_available_and_a_sale_from_what_is_on_hand(shop: Shop) -> None:
    shop.put("p", on_hand=10)
    shop.hold(of("p", 3))
    assert shop.counts("p") == (10, 3, 0)
    shop.do(sell, of("p", 3))
    assert shop.counts("p") == (7, 0, 3)


def test_what_is_put_back_is_available_again(shop: Shop) -> None:
    shop.put("p", on_hand=10)
    shop.hold(of("p", 10))
    shop.do(put_back, of("p", 10))
    assert shop.counts("p") == (10, 0, 0)
    shop.hold(of("p", 10))


def test_more_than_is_available_is_refused(shop: Shop) -> None:
    shop.put("p", on_hand=10)
    shop.hold(of("p", 8))
    with pytest.raises(Refused) as refused:
        shop.hold(of("p", 3))
    assert slug_of(refused) == ("insufficient-stock", 409)
    assert refused.value.extra["available"] == 2
    assert shop.counts("p") == (10, 8, 0)


def test_an_unknown_product_is_refused(shop: Shop) -> None:
    with pytest.raises(Refused) as refused:
        shop.hold(of("p", 1))
    assert slug_of(refused) == ("unknown-product", 422)


def test_a_claim_that_fails_in_one_line_holds_none(shop: Shop) -> None:
    shop.put("a", on_hand=5)
    shop.put("b", on_hand=1)
    with pytest.raises(Refused) as refused:
        shop.hold(several(a=5, b=2))
    assert refused.value.extra["productId"] == "b"
    assert (shop.counts("a"), shop.counts("b"), shop.purchases()) == ((5, 0, 0), (1, 0, 0), {})


def test_a_frozen_product_is_not_held_and_not_sold_but_put_back(shop: Shop) -> None:
    shop.put("p", on_hand=10)
    shop.hold(of("p", 4))
    shop.put("p", frozen=True)
    with pytest.raises(Refused) as refused:
        shop.hold(of("p", 1))
    assert slug_of(refused) == ("product-frozen", 409)
    with pytest.raises(Transient):
        shop.do(sell, of("p", 4))
    assert shop.counts("p") == (10, 4, 0)
    shop.do(put_back, of("p", 4))
    assert shop.counts("p") == (10, 0, 0)


def test_a_claim_with_one_frozen_product_sells_none_until_it_is_released(shop: Shop) -> None:
    shop.put("a", on_hand=5)
    shop.put("b", on_hand=5)
    shop.hold(several(a=2, b=2))
    shop.put("b", frozen=True)
    with pytest.raises(Transient):
        shop.do(sell, several(a=2, b=2))
    assert (shop.counts("a"), shop.counts("b")) == ((5, 2, 0), (5, 2, 0))
    shop.put("b", frozen=False)
    shop.do(sell, several(a=2, b=2))
    assert (shop.counts("a"), shop.counts("b")) == ((3, 0, 2), (3, 0, 2))


def test_a_purchase_limit_counts_units_held_and_sold(shop: Shop) -> None:
    shop.put("p", on_hand=10, purchase_limit=5)
    shop.hold(of("p", 2))
    shop.do(sell, of("p", 2))
    shop.hold(of("p", 2))
    with pytest.raises(Refused) as refused:
        shop.hold(of("p", 2))
    assert slug_of(refused) == ("purchase-limit-reached", 409)
    assert refused.value.extra["left"] == 1
    assert shop.counts("p") == (8, 2, 2)
    shop.hold(of("p", 1))


def test_a_first_purchase_over_the_limit_is_refused(shop: Shop) -> None:
    shop.put("p", on_hand=10, purchase_limit=5)
    with pytest.raises(Refused) as refused:
        shop.hold(of("p", 6))
    assert slug_of(refused) == ("purchase-limit-reached", 409)


def test_a_purchase_limit_is_each_customers_own(shop: Shop) -> None:
    shop.put("p", on_hand=10, purchase_limit=5)
    shop.hold(of("p", 5, "ada"))
    shop.hold(of("p", 5, "bob"))


def test_units_put_back_no_longer_count_for_the_limit(shop: Shop) -> None:
    shop.put("p", on_hand=10, purchase_limit=5)
    shop.hold(of("p", 5))
    shop.do(put_back, of("p", 5))
    shop.hold(of("p", 5))


def test_a_limit_set_later_counts_what_was_bought_before(shop: Shop) -> None:
    shop.put("p", on_hand=10)
    shop.hold(of("p", 4))
    shop.do(sell, of("p", 4))
    shop.put("p", purchase_limit=5)
    with pytest.raises(Refused):
        shop.hold(of("p", 2))
    shop.hold(of("p", 1))


def test_every_change_raises_the_version(shop: Shop) -> None:
    versions = [shop.put("p", on_hand=10).version]
    shop.hold(of("p", 1))
    versions.append(shop.put("p").version)
    shop.do(sell, of("p", 1))
    versions.append(shop.put("p").version)
    assert versions == [1, 2, 3]


def test_on_hand_and_sold_are_the_sum_of_the_adjustments(shop: Shop) -> None:
    shop.put("p", on_hand=10)
    shop.hold(of("p", 3))
    shop.do(sell, of("p", 3))
    shop.put("p", on_hand=2)
    shop.put("p", name="A teapot")
    shop.database.write_now(
        lambda connection: products.adjust(
            connection, "p", 4, "found behind the shelf", adjustment_id="x", now=3
        )
    )
    rows = shop.database.write_now(lambda connection: connection.execute(select(ADJUSTMENT)).all())
    assert [row.delta for row in rows] == [10, -5, 4]
    assert shop.counts("p") == (6, 0, 3)


def test_the_database_itself_refuses_to_hold_more_than_there_is(shop: Shop) -> None:
    from sqlalchemy.exc import IntegrityError

    shop.put("p", on_hand=1)
    with pytest.raises(IntegrityError):
        shop.database.write_now(lambda connection: connection.execute(PRODUCT.update().values(held=2)))
