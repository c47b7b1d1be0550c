"""Hold by a conditional update: what is checked and what is changed are one statement."""

from typing import Final

from sqlalchemy import Connection, update

from shared.clock import Millis
from shared.database.prepared import Prepared
from shared.tcc.command import Context
from stock_service import purchases, shelf
from stock_service.claim import StockClaim
from stock_service.domain import Line, refusal
from stock_service.shelf import CHANGED, OF_PRODUCT, Q
from stock_service.tables import PRODUCT


def hold(connection: Connection, claim: StockClaim, context: Context) -> None:
    """Hold every line, for as long as the reservation stands; raises Refused where one can't be held."""
    for line in claim.lines:
        take(connection, line, context.now)
        purchases.count_in(connection, line, claim.customer_id)


def take(connection: Connection, line: Line, now: Millis) -> None:
    """Hold units of one product. Raises Refused where there aren't so many."""
    if not _HOLD.hits(connection, shelf.parameters(line, now)):
        raise refusal(line, shelf.read(connection, line.product_id))


_HOLD: Final = Prepared(
    update(PRODUCT)
    .where(OF_PRODUCT, PRODUCT.c.on_hand - PRODUCT.c.held >= Q, PRODUCT.c.frozen.is_(False))
    .values(held=PRODUCT.c.held + Q, **CHANGED),
    sorted_by=("p",),
)
