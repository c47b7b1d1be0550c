"""Stock as a participant: the rules that sell what is held and put it back, and how it is held.

Products are taken in their sorted order, and the customer's count after its product, so that no two claims
wait for each other.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

from sqlalchemy import Connection

from shared.errors import Transient
from shared.tcc.participant import Context, Participant
from stock_service import purchases, shelf
from stock_service.claim import StockClaim, message_key
from stock_service.holding import atomic, gathered, optimistic, pessimistic

Strategy = Literal["atomic", "optimistic", "pessimistic", "queue"]
"""How a hold is decided (see stock_service.holding)."""


def sell(connection: Connection, claim: StockClaim, context: Context) -> None:
    """Sell what is held: it leaves the shelf. Raises Transient while one of the products is frozen."""
    for line in claim.lines:
        if not shelf.sell(connection, line, context.now):
            found = shelf.read(connection, line.product_id)
            assert found is not None, f"{line} is held of a product that is gone"
            assert found.level.held >= line.qty, f"{line} is not held and can't be sold"
            raise Transient(
                f"Product {line.product_id} is frozen for stocktaking; it is sold once it is released.",
                slug="product-frozen",
            )
        purchases.count_sold(connection, line, claim.customer_id)


def put_back(connection: Connection, claim: StockClaim, context: Context) -> None:
    """Make what is held available again, frozen or not."""
    for line in claim.lines:
        released = shelf.put_back(connection, line, context.now)
        assert released, f"{line} is not held and can't be put back"
        purchases.count_out(connection, line, claim.customer_id)


def keep_count(connection: Connection, claims: Sequence[StockClaim]) -> None:
    """Keep in a sum what was sold by reservations that are deleted: the audit counts it."""
    sold: Counter[tuple[str, str]] = Counter()
    for claim in claims:
        sold.update({(line.product_id, claim.customer_id): line.qty for line in claim.lines})
    purchases.keep_sold(connection, sold)


stock: Final = Participant(
    name="stock",
    collection="stocks",
    topic="stock-adjustment",
    claim=StockClaim,
    on_try=atomic.hold,
    on_confirm=sell,
    on_cancel=put_back,
    on_forget=keep_count,
    key=message_key,
)
"""Stock whose holds are decided by a conditional update, each by itself."""

BY_STRATEGY: Final[Mapping[Strategy, Participant[StockClaim]]] = {
    "atomic": stock,
    "optimistic": replace(stock, foresee=optimistic.look, on_try=optimistic.hold),
    "pessimistic": replace(stock, on_try=pessimistic.hold),
    "queue": replace(stock, on_tries=gathered.hold_all),
}
