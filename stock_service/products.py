"""Products in the database: how they are created, changed, adjusted and listed.

These are the shopkeeper's rare moves. Each locks its product's row, asks the pure rules, writes, and records
what it did to the units on hand.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from shared.clock import Millis
from shared.database.port import insert_new
from shared.errors import NotFound, Refused
from stock_service.domain import Level, adjusted
from stock_service.tables import ADJUSTMENT, PRODUCT

Precondition = Callable[[int | None], bool]
"""Says whether a change may happen, given the product's version (None: there is no such product)."""


class ProductRow(NamedTuple):
    """A row of the product table, its columns in their order."""

    product_id: str
    name: str
    on_hand: int
    held: int
    sold: int
    purchase_limit: int | None
    frozen: bool
    version: int
    created_at: Millis
    updated_at: Millis

    @property
    def level(self) -> Level:
        return Level(self.on_hand, self.held, self.sold)


class AdjustmentRow(NamedTuple):
    """A row of the adjustment table, its columns in their order."""

    id: str
    product_id: str
    delta: int
    reason: str
    on_hand: int
    created_at: Millis


def put(
    connection: Connection,
    product_id: str,
    changes: Mapping[str, Any],
    *,
    allowed: Precondition,
    adjustment_id: str,
    now: Millis,
) -> tuple[ProductRow, bool]:
    """Create a product or change it; return it and whether it was created.

    changes: of name, on_hand, purchase_limit and frozen those that are given. Raises Refused
    `precondition-failed`, or what domain.adjusted raises.
    """
    before = _lock(connection, product_id)
    _check(product_id, before, allowed)
    created = before is None and insert_new(connection, PRODUCT, _empty(product_id, now))
    product = before or _locked(connection, product_id)
    if before is None and not created:
        # Somebody else made it in between, where a database lets two writers in at once.
        _check(product_id, product, allowed)
    values = {name: value for name, value in changes.items() if value != getattr(product, name)}
    if created or values:
        delta = changes.get("on_hand", product.on_hand) - product.on_hand
        adjusted(product.level, delta)
        _change(connection, product_id, values, now)
        if delta:
            reason = "created" if created else "set"
            _record(connection, adjustment_id, product, delta, reason, now)
    return _locked(connection, product_id), created


def adjust(
    connection: Connection, product_id: str, delta: int, reason: str, *, adjustment_id: str, now: Millis
) -> AdjustmentRow:
    """Add delta units to what is on hand, and record it; raises NotFound, or what domain.adjusted raises."""
    product = _locked(connection, product_id)
    level = adjusted(product.level, delta)
    _change(connection, product_id, {"on_hand": level.on_hand}, now)
    return _record(connection, adjustment_id, product, delta, reason, now)


def read(connection: Connection, product_id: str) -> ProductRow:
    """Read a product; raises NotFound."""
    row = connection.execute(_READ, {"p": product_id}).one_or_none()
    if row is None:
        raise _not_found(product_id)
    return ProductRow(*row)


def page(connection: Connection, after: str, most: int) -> list[ProductRow]:
    """Return up to `most` products whose id comes after the given one, in the order of their ids."""
    return [ProductRow(*row) for row in connection.execute(_PAGE, {"after": after, "most": most})]


def read_adjustment(connection: Connection, adjustment_id: str) -> AdjustmentRow:
    """Read an adjustment that is known to be there."""
    return AdjustmentRow(*connection.execute(_ADJUSTMENT, {"a": adjustment_id}).one())


def adjustments(connection: Connection, product_id: str, after: str, most: int) -> list[AdjustmentRow]:
    """Return up to `most` adjustments of a product whose id comes after the given one; raises NotFound."""
    read(connection, product_id)
    rows = connection.execute(_ADJUSTMENTS, {"p": product_id, "after": after, "most": most})
    return [AdjustmentRow(*row) for row in rows]


def _check(product_id: str, found: ProductRow | None, allowed: Precondition) -> None:
    if not allowed(None if found is None else found.version):
        raise Refused(
            "precondition-failed",
            f"Product {product_id} isn't what the precondition expects. Read it again, then decide.",
            status=412,
        )


def _lock(connection: Connection, product_id: str) -> ProductRow | None:
    row = connection.execute(_LOCK, {"p": product_id}).one_or_none()
    return None if row is None else ProductRow(*row)


def _locked(connection: Connection, product_id: str) -> ProductRow:
    product = _lock(connection, product_id)
    if product is None:
        raise _not_found(product_id)
    return product


def _change(connection: Connection, product_id: str, values: Mapping[str, Any], now: Millis) -> None:
    changed = {**values, "version": PRODUCT.c.version + 1, "updated_at": now}
    connection.execute(update(PRODUCT).where(PRODUCT.c.product_id == product_id).values(changed))


def _record(
    connection: Connection, adjustment_id: str, before: ProductRow, delta: int, reason: str, now: Millis
) -> AdjustmentRow:
    on_hand = before.on_hand + delta
    row = AdjustmentRow(adjustment_id, before.product_id, delta, reason, on_hand, now)
    connection.execute(_RECORD, row._asdict())
    return row


def _empty(product_id: str, now: Millis) -> dict[str, Any]:
    row = ProductRow(product_id, product_id, 0, 0, 0, None, False, 0, now, now)
    return row._asdict()


def _not_found(product_id: str) -> NotFound:
    return NotFound(f"There is no product {product_id}.")


_READ: Final = select(PRODUCT).where(PRODUCT.c.product_id == bindparam("p"))
_LOCK: Final = _READ.with_for_update()
_PAGE: Final = (
    select(PRODUCT)
    .where(PRODUCT.c.product_id > bindparam("after"))
    .order_by(PRODUCT.c.product_id)
    .limit(bindparam("most"))
)
_RECORD: Final = ADJUSTMENT.insert()
_ADJUSTMENT: Final = select(ADJUSTMENT).where(ADJUSTMENT.c.id == bindparam("a"))
_ADJUSTMENTS: Final = (
    select(ADJUSTMENT)
    .where(ADJUSTMENT.c.product_id == bindparam("p"), ADJUSTMENT.c.id > bindparam("after"))
    .order_by(ADJUSTMENT.c.id)
    .limit(bindparam("most"))
)
