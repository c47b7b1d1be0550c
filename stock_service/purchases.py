"""What each customer holds and has bought of each product, counted for the purchase limits.

A customer's count is touched only by whoever has changed its product's row in the same transaction, so that
it is guarded by that row's lock, and no two claims wait for each other.
"""

import functools
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Connection,
    String,
    bindparam,
    func,
    literal_column,
    select,
    update,
)

from shared.database.port import inserting
from shared.database.prepared import Prepared
from stock_service.domain import Line, limit_reached
from stock_service.tables import PRODUCT, PURCHASE, SOLD_EARLIER

NO_LIMIT: Final = 2**63 - 1


def count_in(connection: Connection, line: Line, customer_id: str) -> None:
    """Count held units; raise Refused where the customer would have more than the product's limit."""
    parameters = _parameters(line, customer_id)
    if not _count_in(connection.dialect.name).hits(connection, parameters):
        limits = _LIMITS.row(connection, parameters)
        assert limits is not None, f"product {line.product_id} is gone while it is held"
        raise limit_reached(line, *limits)


def count_sold(connection: Connection, line: Line, customer_id: str) -> None:
    """Count held units as sold."""
    counted = _COUNT_SOLD.hits(connection, _parameters(line, customer_id))
    assert counted, f"{line} is not counted for {customer_id}"


def count_out(connection: Connection, line: Line, customer_id: str) -> None:
    """Count held units no longer."""
    counted = _COUNT_OUT.hits(connection, _parameters(line, customer_id))
    assert counted, f"{line} is not counted for {customer_id}"


def keep_sold(connection: Connection, sold: Mapping[tuple[str, str], int]) -> None:
    """Add units whose reservations are deleted to what was sold earlier. sold: by product and customer."""
    # In one order, so that no two wait for each other.
    rows = [{"p": key[0], "c": key[1], "q": units} for key, units in sorted(sold.items())]
    _keep_sold(connection.dialect.name).run_many(connection, rows)


def _parameters(line: Line, customer_id: str) -> Mapping[str, Any]:
    return {"p": line.product_id, "c": customer_id, "q": line.qty}


_Q: Final[BindParameter[int]] = bindparam("q", type_=BigInteger())
_OF_CUSTOMER: Final = (PURCHASE.c.product_id == bindparam("p"), PURCHASE.c.customer_id == bindparam("c"))
_KEY: Final = ("p", "c")
_OF_PRODUCT: Final = PRODUCT.c.product_id == bindparam("p")
# A number that is no parameter: a parameter would be without a type here.
_LIMIT: Final = func.coalesce(PRODUCT.c.purchase_limit, literal_column(str(NO_LIMIT)))
_LIMIT_THERE: Final = select(_LIMIT).where(_OF_PRODUCT).scalar_subquery()
_TAKEN: Final = select(PURCHASE.c.held + PURCHASE.c.sold).where(*_OF_CUSTOMER).scalar_subquery()
_LIMITS: Final = Prepared(select(_LIMIT, func.coalesce(_TAKEN, literal_column("0"))).where(_OF_PRODUCT))
_COUNT_SOLD: Final = Prepared(
    update(PURCHASE)
    .where(*_OF_CUSTOMER, PURCHASE.c.held >= _Q)
    .values(held=PURCHASE.c.held - _Q, sold=PURCHASE.c.sold + _Q),
    sorted_by=_KEY,
)
_COUNT_OUT: Final = Prepared(
    update(PURCHASE).where(*_OF_CUSTOMER, PURCHASE.c.held >= _Q).values(held=PURCHASE.c.held - _Q),
    sorted_by=_KEY,
)


@functools.cache
def _count_in(dialect: str) -> Prepared:
    """The customer's first units of a product, or more; the limit holds for either."""
    of_whom = (bindparam(name, type_=String()) for name in _KEY)
    first: Any = select(*of_whom, _Q, literal_column("0")).where(_Q <= _LIMIT_THERE)
    counted = inserting(dialect, PURCHASE).from_select([column.key for column in PURCHASE.c], first)
    return Prepared(
        counted.on_conflict_do_update(
            index_elements=[PURCHASE.c.product_id, PURCHASE.c.customer_id],
            set_={"held": PURCHASE.c.held + _Q},
            where=PURCHASE.c.held + PURCHASE.c.sold + _Q <= _LIMIT_THERE,
        ),
        sorted_by=_KEY,
    )


@functools.cache
def _keep_sold(dialect: str) -> Prepared:
    first = inserting(dialect, SOLD_EARLIER).values(
        product_id=bindparam("p"), customer_id=bindparam("c"), sold=_Q
    )
    return Prepared(
        first.on_conflict_do_update(
            index_elements=[SOLD_EARLIER.c.product_id, SOLD_EARLIER.c.customer_id],
            set_={"sold": SOLD_EARLIER.c.sold + _Q},
        )
    )
