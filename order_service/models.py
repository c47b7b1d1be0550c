"""Orders as JSON: what a customer sends and is shown."""

from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, model_validator

from order_service.domain import Draft, Line, Status, merged
from order_service.orders import Order
from shared.clock import iso
from shared.http.model import Body, Maybe, Money, Quantity, Seconds, View
from shared.identity import Id

GUEST: Final = "guest"
"""The customer of whoever names none."""

MAX_LINES: Final = 100
MAX_QTY: Final = 1_000_000_000


class OrderItem(Body):
    """So many units of one product."""

    product_id: Id
    qty: Quantity


class Hold(Body):
    """Holds the goods until the customer pays (PUT) or calls the order off (DELETE)."""

    seconds: Maybe[Seconds] = None


class NewOrder(Body):
    """What a customer orders: one product and its quantity, or items; an amount of 0 is allowed.

    The quantities of a product that is named more than once are added up.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"orderId": "1", "productId": "2", "qty": 1, "paymentAmt": 1}],
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
            ],
        }
    )

    order_id: Maybe[Id] = None
    customer_id: Id = GUEST
    product_id: Maybe[Id] = None
    qty: Maybe[Quantity] = None
    items: Maybe[Annotated[tuple[OrderItem, ...], Field(min_length=1, max_length=MAX_LINES)]] = None
    payment_amt: Money
    hold: Maybe[Hold] = None

    def draft(self, hold_seconds: int) -> Draft:
        """Return the wish in its canonical form. hold_seconds: of a hold that doesn't say."""
        held = None if self.hold is None else self.hold.seconds or hold_seconds
        return Draft(self.customer_id, self._lines(), self.payment_amt, held)

    @model_validator(mode="after")
    def _one_way(self) -> "NewOrder":
        if self.items is None:
            if self.product_id is None or self.qty is None:
                raise ValueError("Name a productId and its qty, or items.")
        elif self.product_id is not None or self.qty is not None:
            raise ValueError("Name either a productId and its qty, or items, but not both.")
        elif any(line.qty > MAX_QTY for line in self._lines()):
            raise ValueError(f"Order at most {MAX_QTY} units of a product.")
        return self

    def _lines(self) -> tuple[Line, ...]:
        if self.items is None:
            assert self.product_id is not None
            assert self.qty is not None
            return (Line(self.product_id, self.qty),)
        return merged([Line(item.product_id, item.qty) for item in self.items])


class ItemView(View):
    """So many units of one product."""

    product_id: str
    qty: int


class OrderView(View):
    """An order. CONFIRMED and CANCELLED mean that every participant is settled."""

    order_id: Id
    customer_id: str
    items: list[ItemView]
    payment_amt: int
    status: Status
    transaction_id: str
    reason: Maybe[str] = Field(default=None, description="Why it was cancelled: a slug.")
    expires_at: Maybe[str] = Field(default=None, description="When a hold ends, ISO 8601 in UTC.")
    created_at: str
    updated_at: str


def shown(order: Order) -> dict[str, Any]:
    """Return an order in the form of OrderView, ready to be written as JSON (building a model costs more)."""
    view: dict[str, Any] = {
        "orderId": order.order_id,
        "customerId": order.customer_id,
        "items": [{"productId": line.product_id, "qty": line.qty} for line in order.lines],
        "paymentAmt": order.payment_amt,
        "status": order.status.value,
        "transactionId": order.transaction_id,
    }
    if order.reason is not None:
        view["reason"] = order.reason
    if order.expires_at is not None:
        view["expiresAt"] = iso(order.expires_at)
    view["createdAt"] = iso(order.created_at)
    view["updatedAt"] = iso(order.updated_at)
    return view
