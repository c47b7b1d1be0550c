"""What is claimed of the stock: products, how much of each, and for whom."""

from typing import Annotated, Final

from pydantic import ConfigDict, Field, model_validator

from shared.http.model import Body, Maybe, Quantity
from shared.identity import Id
from stock_service.domain import MAX_LINES, Line, merge

GUEST: Final = "guest"
"""The customer of whoever names none: all of them share what a purchase limit leaves."""


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


def message_key(branch_id: str, claim: StockClaim) -> str:
    """Return the Kafka key of a claim's Confirm: its product, or the branch where it takes several."""
    lines = claim.lines
    return lines[0].product_id if len(lines) == 1 else branch_id
