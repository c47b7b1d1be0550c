"""What each customer holds and has bought of each product, counted for the purchase limits.

A customer's count is touched only by whoever has changed its product's row in the same transaction, so that
it is guarded by that row's lock, and no two claims wait for each other.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import BigInteger, BindParameter, Connection, bindparam, select, update

from shared.database.port import insert_new
from shared.database.prepared import Prepared
from stock_service.domain import Line, limit_reached
from stock_service.tables import PURCHASE, SOLD_EARLIER

NO_LIMIT: Final = 2**63 - 1


def count_in(connection: Connection, line: Line, customer_id: str, purchase_limit: int | None) -> None:
    """Count held units; raise Refused where the customer would have more than the limit (None: no limit)."""
    limit = NO_LIMIT if purchase_limit is None else purchase_limit
    parameters = _parameters(line, customer_id)
    if _COUNT_IN.run(connection, {**parameters, "most": limit}) == 1:
        return
    first = {"product_id": line.product_id, "customer_id": customer_id, "held": line.qty, "sold": 0}
    if line.qty <= limit and insert_new(connection, PURCHASE, first):
        return
    taken = _TAKEN.row(connection, parameters)
    raise limit_reached(line, limit, 0 if taken is None else taken[0])


def count_sold(connection: Connection, line: Line, customer_id: str) -> None:
    """Count held units as sold."""
    counted = _COUNT_SOLD.run(connection, _parameters(line, customer_id))
    assert counted == 1, f"{line} is not counted for {customer_id}"


def count_out(connection: Connection, line: Line, customer_id: str) -> None:
    """Count held units no longer."""
    counted = _COUNT_OUT.run(connection, _parameters(line, customer_id))
    assert counted == 1, f"{line} is not counted for {customer_id}"


def keep_sold(connection: Connection, sold: Mapping[tuple[str, str], int]) -> None:
    """Add units whose reservations are deleted to what was sold earlier. sold: by product and customer."""
    # In one order, so that no two wait for each other.
    for (product_id, customer_id), units in sorted(sold.items()):
        row = {"product_id": product_id, "customer_id": customer_id, "sold": units}
        if not insert_new(connection, SOLD_EARLIER, row):
            _KEEP_SOLD.run(connection, {"p": product_id, "c": customer_id, "q": units})


def _parameters(line: Line, customer_id: str) -> Mapping[str, Any]:
    return {"p": line.product_id, "c": customer_id, "q": line.qty}


_Q: Final[BindParameter[int]] = bindparam("q", type_=BigInteger())
_OF_CUSTOMER: Final = (PURCHASE.c.product_id == bindparam("p"), PURCHASE.c.customer_id == bindparam("c"))
_TAKEN: Final = Prepared(select(PURCHASE.c.held + PURCHASE.c.sold).where(*_OF_CUSTOMER))
_COUNT_IN: Final = Prepared(
    update(PURCHASE)
    .where(*_OF_CUSTOMER, PURCHASE.c.held + PURCHASE.c.sold + _Q <= bindparam("most"))
    .values(held=PURCHASE.c.held + _Q)
)
_COUNT_SOLD: Final = Prepared(
    update(PURCHASE)
    .where(*_OF_CUSTOMER, PURCHASE.c.held >= _Q)
    .values(held=PURCHASE.c.held - _Q, sold=PURCHASE.c.sold + _Q)
)
_COUNT_OUT: Final = Prepared(
    update(PURCHASE).where(*_OF_CUSTOMER, PURCHASE.c.held >= _Q).values(held=PURCHASE.c.held - _Q)
)
_KEEP_SOLD: Final = Prepared(
    update(SOLD_EARLIER)
    .where(SOLD_EARLIER.c.product_id == bindparam("p"), SOLD_EARLIER.c.customer_id == bindparam("c"))
    .values(sold=SOLD_EARLIER.c.sold + _Q)
)
