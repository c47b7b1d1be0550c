"""Hold by version: look before the transaction, and change only what is still as it was seen.

Whoever finds another version has written nothing, and looks again. SQLite lets no second writer into a
transaction, so there all that can have changed since the look is what was committed before the transaction
began; on PostgreSQL also what commits meanwhile.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, bindparam, update

from shared.database.prepared import Prepared
from shared.errors import Outdated
from shared.tcc.command import Context
from stock_service import purchases, shelf
from stock_service.claim import StockClaim
from stock_service.domain import Shelf, holdable
from stock_service.shelf import CHANGED, OF_PRODUCT
from stock_service.tables import PRODUCT

Seen = Mapping[str, Shelf | None]
"""What was found of each product of a claim; None: there is no such product."""


def look(connection: Connection, claim: StockClaim) -> Seen:
    """Read what decides about a claim, without a lock."""
    return {line.product_id: shelf.read(connection, line.product_id) for line in claim.lines}


def hold(connection: Connection, claim: StockClaim, context: Context) -> None:
    """Hold every line if its product is still as it was seen.

    Raises Refused where what was seen doesn't suffice, Outdated where a product has changed since. Without a
    look before the transaction it looks here.
    """
    seen: Seen = look(connection, claim) if context.foreseen is None else context.foreseen
    for line in claim.lines:
        found = holdable(line, seen[line.product_id])
        changes = {"p": line.product_id, "now": context.now, "seen": found.version}
        if _HOLD.run(connection, {**changes, "total": found.level.held + line.qty}) == 0:
            raise Outdated(f"Product {line.product_id} has changed since it was looked at.")
        purchases.count_in(connection, line, claim.customer_id)


_HOLD: Final = Prepared(
    update(PRODUCT)
    .where(OF_PRODUCT, PRODUCT.c.version == bindparam("seen"))
    .values(held=bindparam("total"), **CHANGED)
)
