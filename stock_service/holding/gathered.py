"""Hold for a whole batch: one conditional update a product and one count a customer, for all claims together.

Either everything fits, or nothing is held: then each claim has to be held by itself, in the order of their
coming.
"""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection

from shared.tcc.command import Context
from stock_service import purchases
from stock_service.claim import StockClaim
from stock_service.domain import Line
from stock_service.holding.atomic import take


def hold_all(connection: Connection, holds: Sequence[tuple[StockClaim, Context]]) -> None:
    """Hold the lines of many claims; raises Refused where they can't be held all."""
    units: Counter[str] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    for claim, _ in holds:
        for line in claim.lines:
            units[line.product_id] += line.qty
            counts[line.product_id, claim.customer_id] += line.qty
    now = max(context.now for _, context in holds)
    # In the order in which everybody takes them: no two wait for each other.
    for product_id in sorted(units):
        take(connection, Line(product_id, units[product_id]), now)
    for product_id, customer_id in sorted(counts):
        line = Line(product_id, counts[product_id, customer_id])
        purchases.count_in(connection, line, customer_id)
