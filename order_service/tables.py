"""The order service's tables: orders, beside those of the kit."""

from typing import Final

from sqlalchemy import BigInteger, Index, Table
from sqlmodel import Field, SQLModel

from shared.database.port import table_of
from shared.idempotency import IDEMPOTENCY
from shared.messaging.ledger import LEDGER
from shared.messaging.letters import LETTER
from shared.messaging.outbox import OUTBOX
from shared.messaging.presence import INSTANCE
from shared.security.acts import ACTS
from shared.tcc.fence import RESERVATION


class OrderRow(SQLModel, table=True):
    """An order. Instants are milliseconds since the epoch, money is in minor units."""

    __tablename__ = "orders"
    __table_args__ = (
        # Transaction ids are ULIDs: within a customer or a status they sort by the time of ordering.
        Index("orders_by_customer", "customer_id", "transaction_id"),
        Index("orders_by_status", "status", "transaction_id"),
        # What the sweeper looks for; NULL once the order is final.
        Index("orders_by_due", "due_at"),
    )

    order_id: str = Field(primary_key=True, max_length=64)
    transaction_id: str = Field(unique=True, max_length=64)
    customer_id: str = Field(max_length=64)
    items: str  # JSON: [[product id, quantity], ...], each product once
    payment_amt: int = Field(sa_type=BigInteger)
    hold_seconds: int | None = None  # None: bought at once
    body_hash: str = Field(max_length=64)
    status: str = Field(max_length=10)
    reason: str | None = Field(default=None, max_length=200)
    refusal: str | None = None  # JSON of what the customer was told, so that a repeat is told the same
    expires_at: int | None = Field(default=None, sa_type=BigInteger)  # of a hold
    attempts: int = 0  # of the sweeper, since the status last changed
    due_at: int | None = Field(default=None, sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)


ORDERS: Final[Table] = table_of(OrderRow)

TABLES: Final[tuple[Table, ...]] = (
    ORDERS,
    RESERVATION,
    OUTBOX,
    INSTANCE,
    LETTER,
    LEDGER,
    ACTS,
    IDEMPOTENCY,
)
"""Every table of this program's database."""
