"""Hold under the row's lock: lock, look, decide, change.

PostgreSQL locks the product's row (FOR UPDATE) until the commit. SQLite has no row locks; there the
transaction has the database's one write lock from its beginning, which is the same with a wider lock.
"""

from typing import Final

from sqlalchemy import Connection, update

from shared.database.prepared import Prepared
from shared.tcc.command import Context
from stock_service import purchases, shelf
from stock_service.claim import StockClaim
from stock_service.domain import holdable
from stock_service.shelf import CHANGED, OF_PRODUCT, Q
from stock_service.tables import PRODUCT


def hold(connection: Connection, claim: StockClaim, context: Context) -> None:
    """Hold every line, for as long as the reservation stands; raises Refused where one can't be held."""
    for line in claim.lines:
        holdable(line, shelf.lock(connection, line.product_id))
        held = _HOLD.run(connection, shelf.parameters(line, context.now))
        assert held == 1, f"product {line.product_id} is gone from under its lock"
        purchases.count_in(connection, line, claim.customer_id)


_HOLD: Final = Prepared(update(PRODUCT).where(OF_PRODUCT).values(held=PRODUCT.c.held + Q, **CHANGED))
