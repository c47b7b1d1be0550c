"""The order service as a participant: the rules that draft, place and discard an order.

The front door writes an order down before it asks for its transaction, so every rule finds the row by the
transaction's id: even a Cancel that comes before its Try does, and cancels the order with its reason.
"""

from typing import Final

from sqlalchemy import Connection

from order_service import domain, orders
from order_service.domain import Status
from order_service.orders import Order
from shared.errors import Conflict, Refused
from shared.http.model import Body
from shared.identity import Id
from shared.tcc.participant import Command, Context, Participant
from shared.tcc.protocol import Phase

OWN_BRANCH: Final = "-order"
"""What the id of an order's own reservation has behind that of its transaction."""


class OrderClaim(Body):
    """Which order is to be placed."""

    order_id: Id


def own_branch_id(transaction_id: str) -> str:
    """Return the id of the reservation that the front door makes when it writes an order down."""
    return transaction_id + OWN_BRANCH


def try_of(order: Order) -> Command[OrderClaim]:
    """Return the Try by which the front door holds an order in the commit that writes it down."""
    expires_at = order.due_at if order.expires_at is None else order.expires_at
    return Command(
        phase=Phase.TRY,
        branch_id=own_branch_id(order.transaction_id),
        transaction_id=order.transaction_id,
        claim=OrderClaim(order_id=order.order_id),
        expires_at=expires_at,
        foreseen=(order.order_id, order.status),
    )


def draft(connection: Connection, claim: OrderClaim, context: Context) -> None:
    """Make sure that the order is there and still open. Raises Refused where it isn't."""
    transaction_id = _transaction(context)
    known = context.foreseen or orders.status_by_transaction(connection, transaction_id)
    domain.draft(claim.order_id, known)


def place(connection: Connection, claim: OrderClaim, context: Context) -> None:
    """Make the order CONFIRMED. Everybody else is settled by then, because this branch settles last."""
    transaction_id = _transaction(context)
    if orders.move(connection, transaction_id, Status.CONFIRMED, context.now):
        return
    status = _status(connection, claim.order_id, transaction_id)
    assert not domain.place(status), f"order {claim.order_id} is {status} and didn't move to CONFIRMED"


def discard(connection: Connection, claim: OrderClaim, context: Context) -> None:
    """Make the order CANCELLED, with the reason that came with the Cancel unless it has one already."""
    transaction_id = _transaction(context)
    if orders.move(connection, transaction_id, Status.CANCELLED, context.now, context.reason):
        return
    status = _status(connection, claim.order_id, transaction_id)
    assert not domain.discard(status), f"order {claim.order_id} is {status} and didn't move to CANCELLED"


def discard_untried(connection: Connection, context: Context) -> None:
    """Do the same for a Cancel that came before its Try. One for a stranger's transaction changes nothing."""
    transaction_id = _transaction(context)
    if orders.move(connection, transaction_id, Status.CANCELLED, context.now, context.reason):
        return
    known = orders.status_by_transaction(connection, transaction_id)
    if known is not None:
        domain.discard(known[1])


def message_key(_branch_id: str, claim: OrderClaim) -> str:
    """Return the Kafka key of an order's Confirm."""
    return claim.order_id


def _transaction(context: Context) -> str:
    if context.transaction_id is None:
        raise Refused(
            "transaction-required",
            "An order is reserved within a transaction only; place orders with POST /api/v1/orders.",
            422,
        )
    return context.transaction_id


def _status(connection: Connection, order_id: str, transaction_id: str) -> Status:
    known = orders.status_by_transaction(connection, transaction_id)
    if known is None:
        raise Conflict("unknown-order", f"Order {order_id} of transaction {transaction_id} is not here.")
    return known[1]


order: Final = Participant(
    name="order",
    collection="order-reservations",
    topic="order-confirmation",
    claim=OrderClaim,
    on_try=draft,
    on_confirm=place,
    on_cancel=discard,
    key=message_key,
    on_tombstone=discard_untried,
)
