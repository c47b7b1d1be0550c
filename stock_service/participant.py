"""Stock as a participant: a claim of units, and the rules that hold, sell and put them back.

Every rule is a conditional update, one a product, so that what is checked and what is changed are one step;
products are taken in their sorted order, and the customer's count after its product, so that no two claims
wait for each other.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, model_validator
from sqlalchemy import BigInteger, BindParameter, Connection, bindparam, select, update

from shared.database.port import insert_new
from shared.database.prepared import Prepared
from shared.errors import Transient
from shared.http.model import Body, Maybe, Quantity
from shared.identity import Id
from shared.tcc.participant import Context, Participant
from stock_service.domain import MAX_LINES, Level, Line, Shelf, limit_reached, merge, refusal
from stock_service.tables import PRODUCT, PURCHASE

GUEST: Final = "guest"
"""The customer of whoever names none: all of them share what a purchase limit leaves."""

NO_LIMIT: Final = 2**63 - 1


class Item(Body):
    """So many units of one product."""

    product_id: Id
    qty: Quantity


Items = Annotated[tuple[Item, ...], Field(min_length=1, max_length=MAX_LINES)]


class StockClaim(Body):
    """What is to be held: one product and its quantity, or a list of items.

    However it was written, a valid claim has `items`, one a product and sorted by it: the quantities of a
    product that is named more than once are added up.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["productId", "qty"], "properties": {"items": {"type": "null"}}},
                {
                    "required": ["items"],
                    "properties": {
                        "items": {"type": "array"},
                        "productId": {"type": "null"},
                        "qty": {"type": "null"},
                    },
                },
            ]
        }
    )

    product_id: Maybe[Id] = None
    qty: Maybe[Quantity] = None
    items: Maybe[Items] = None
    customer_id: Id = GUEST
    order_id: Maybe[Id] = None

    @property
    def lines(self) -> tuple[Line, ...]:
        """The items as the rules take them."""
        return tuple(Line(item.product_id, item.qty) for item in self.items or ())

    @model_validator(mode="after")
    def _normalise(self) -> "StockClaim":
        if self.items is None:
            if self.product_id is None or self.qty is None:
                raise ValueError("Name a productId and its qty, or items.")
            self._write_as((Item(product_id=self.product_id, qty=self.qty),))
        elif self.product_id is not None or self.qty is not None:
            raise ValueError("Name either a productId and its qty, or items, but not both.")
        elif len(self.items) > 1:
            # What is added up must be an item like any other: it is read again whenever the claim is.
            self._write_as(tuple(Item(product_id=one.product_id, qty=one.qty) for one in merge(self.lines)))
        return self

    def _write_as(self, items: tuple[Item, ...]) -> None:
        # One way of writing a claim is stored, shown and compared. The model is frozen for everybody else.
        for name, value in (("items", items), ("product_id", None), ("qty", None)):
            object.__setattr__(self, name, value)


def hold(connection: Connection, claim: StockClaim, context: Context) -> None:
    """Hold every line, for as long as the reservation stands; raises Refused where one can't be held."""
    for line in claim.lines:
        held = _HOLD.row(connection, _parameters(line, claim, context))
        if held is None:
            raise refusal(line, _shelf(connection, line.product_id))
        (purchase_limit,) = held
        _count_in(connection, line, claim.customer_id, purchase_limit)


def sell(connection: Connection, claim: StockClaim, context: Context) -> None:
    """Sell what is held: it leaves the shelf. Raises Transient while one of the products is frozen."""
    for line in claim.lines:
        parameters = _parameters(line, claim, context)
        if _SELL.run(connection, parameters) == 0:
            shelf = _shelf(connection, line.product_id)
            assert shelf is not None, f"{line} is held of a product that is gone"
            assert shelf.level.held >= line.qty, f"{line} is not held and can't be sold"
            raise Transient(
                f"Product {line.product_id} is frozen for stocktaking; it is sold once it is released.",
                slug="product-frozen",
            )
        counted = _COUNT_SOLD.run(connection, parameters)
        assert counted == 1, f"{line} is not counted for {claim.customer_id}"


def put_back(connection: Connection, claim: StockClaim, context: Context) -> None:
    """Make what is held available again, frozen or not."""
    for line in claim.lines:
        parameters = _parameters(line, claim, context)
        released = _PUT_BACK.run(connection, parameters)
        assert released == 1, f"{line} is not held and can't be put back"
        counted = _COUNT_OUT.run(connection, parameters)
        assert counted == 1, f"{line} is not counted for {claim.customer_id}"


def message_key(branch_id: str, claim: StockClaim) -> str:
    """Return the Kafka key of a claim's Confirm: its product, or the branch where it takes several."""
    lines = claim.lines
    return lines[0].product_id if len(lines) == 1 else branch_id


def _count_in(connection: Connection, line: Line, customer_id: str, purchase_limit: int | None) -> None:
    """Count held units for the customer, within the limit. The product's row is locked by the hold before."""
    limit = NO_LIMIT if purchase_limit is None else purchase_limit
    keys = {"p": line.product_id, "c": customer_id}
    if _COUNT_IN.run(connection, {**keys, "q": line.qty, "most": limit}) == 1:
        return
    first = {"product_id": line.product_id, "customer_id": customer_id, "held": line.qty, "sold": 0}
    if line.qty <= limit and insert_new(connection, PURCHASE, first):
        return
    raise limit_reached(line, limit, connection.execute(_TAKEN, keys).scalar() or 0)


def _shelf(connection: Connection, product_id: str) -> Shelf | None:
    row = connection.execute(_SHELF, {"p": product_id}).one_or_none()
    if row is None:
        return None
    return Shelf(Level(row.on_hand, row.held, row.sold), row.purchase_limit, row.frozen)


def _parameters(line: Line, claim: StockClaim, context: Context) -> Mapping[str, Any]:
    return {"p": line.product_id, "c": claim.customer_id, "q": line.qty, "now": context.now}


_Q: Final[BindParameter[int]] = bindparam("q", type_=BigInteger())
_OF_PRODUCT: Final = PRODUCT.c.product_id == bindparam("p")
_OF_CUSTOMER: Final = (PURCHASE.c.product_id == bindparam("p"), PURCHASE.c.customer_id == bindparam("c"))
_CHANGED: Final = {"version": PRODUCT.c.version + 1, "updated_at": bindparam("now")}

_SHELF: Final = select(PRODUCT).where(_OF_PRODUCT)
_HOLD: Final = Prepared(
    update(PRODUCT)
    .where(_OF_PRODUCT, PRODUCT.c.on_hand - PRODUCT.c.held >= _Q, PRODUCT.c.frozen.is_(False))
    .values(held=PRODUCT.c.held + _Q, **_CHANGED)
    .returning(PRODUCT.c.purchase_limit)
)
_SELL: Final = Prepared(
    update(PRODUCT)
    .where(_OF_PRODUCT, PRODUCT.c.held >= _Q, PRODUCT.c.frozen.is_(False))
    .values(held=PRODUCT.c.held - _Q, on_hand=PRODUCT.c.on_hand - _Q, sold=PRODUCT.c.sold + _Q, **_CHANGED)
)
_PUT_BACK: Final = Prepared(
    update(PRODUCT).where(_OF_PRODUCT, PRODUCT.c.held >= _Q).values(held=PRODUCT.c.held - _Q, **_CHANGED)
)
_TAKEN: Final = select(PURCHASE.c.held + PURCHASE.c.sold).where(*_OF_CUSTOMER)
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

stock: Final = Participant(
    name="stock",
    collection="stocks",
    topic="stock-adjustment",
    claim=StockClaim,
    on_try=hold,
    on_confirm=sell,
    on_cancel=put_back,
    key=message_key,
)
