"""A product's row as the rules of a claim see it: read, locked, sold from and put back to.

Every change raises the version. Those here are conditional updates of one row, so that what is checked and
what is changed are one step; how units are held is decided in stock_service.holding.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, BindParameter, Connection, bindparam, select, update

from shared.clock import Millis
from shared.database.prepared import Prepared
from stock_service.domain import Level, Line, Shelf
from stock_service.tables import PRODUCT

Q: Final[BindParameter[int]] = bindparam("q", type_=BigInteger())
"""The units of a line."""

OF_PRODUCT: Final = PRODUCT.c.product_id == bindparam("p")
CHANGED: Final = {"version": PRODUCT.c.version + 1, "updated_at": bindparam("now")}
"""What every change of a product changes besides."""


def read(connection: Connection, product_id: str) -> Shelf | None:
    """Read what decides about a hold of a product; None where there is no such product."""
    return _shelf(_READ.row(connection, {"p": product_id}))


def lock(connection: Connection, product_id: str) -> Shelf | None:
    """Read it and take its row's lock, where the database has such."""
    return _shelf(_LOCK.row(connection, {"p": product_id}))


def sell(connection: Connection, line: Line, now: Millis) -> bool:
    """Take held units off the shelf; return False where the product is frozen, or they aren't held."""
    return _SELL.hits(connection, parameters(line, now))


def put_back(connection: Connection, line: Line, now: Millis) -> bool:
    """Make held units available again; return False where they aren't held."""
    return _PUT_BACK.hits(connection, parameters(line, now))


def parameters(line: Line, now: Millis) -> Mapping[str, Any]:
    """Return a line as the statements take it."""
    return {"p": line.product_id, "q": line.qty, "now": now}


def _shelf(row: Sequence[Any] | None) -> Shelf | None:
    if row is None:
        return None
    on_hand, held, sold, purchase_limit, frozen, version = row
    return Shelf(Level(on_hand, held, sold), purchase_limit, bool(frozen), version)


_BY_ID: Final = select(
    PRODUCT.c.on_hand,
    PRODUCT.c.held,
    PRODUCT.c.sold,
    PRODUCT.c.purchase_limit,
    PRODUCT.c.frozen,
    PRODUCT.c.version,
).where(OF_PRODUCT)
_READ: Final = Prepared(_BY_ID)
_LOCK: Final = Prepared(_BY_ID.with_for_update())
_SELL: Final = Prepared(
    update(PRODUCT)
    .where(OF_PRODUCT, PRODUCT.c.held >= Q, PRODUCT.c.frozen.is_(False))
    .values(held=PRODUCT.c.held - Q, on_hand=PRODUCT.c.on_hand - Q, sold=PRODUCT.c.sold + Q, **CHANGED),
    sorted_by=("p",),
)
_PUT_BACK: Final = Prepared(
    update(PRODUCT).where(OF_PRODUCT, PRODUCT.c.held >= Q).values(held=PRODUCT.c.held - Q, **CHANGED),
    sorted_by=("p",),
)
