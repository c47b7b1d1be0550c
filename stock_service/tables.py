"""The stock service's tables. Instants are milliseconds since the epoch, quantities are units."""

from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Index, Table
from sqlmodel import Field, SQLModel

from shared.database.port import table_of
from shared.idempotency import IDEMPOTENCY
from shared.messaging.ledger import LEDGER
from shared.messaging.letters import LETTER
from shared.messaging.outbox import OUTBOX
from shared.messaging.presence import INSTANCE
from shared.security.acts import ACTS
from shared.tcc.fence import RESERVATION
from stock_service.drops.tables import DROP_CLAIM, DROP_OFFER


class Product(SQLModel, table=True):
    """A product and its counters, which only conditional updates touch. version: rises with every change."""

    __tablename__ = "product"
    __table_args__ = (
        CheckConstraint("held >= 0 AND held <= on_hand", name="product_held"),
        CheckConstraint("sold >= 0", name="product_sold"),
    )

    product_id: str = Field(primary_key=True, max_length=64)
    name: str = Field(max_length=200)
    on_hand: int = Field(sa_type=BigInteger)
    held: int = Field(sa_type=BigInteger)
    sold: int = Field(sa_type=BigInteger)
    purchase_limit: int | None = Field(default=None, sa_type=BigInteger)  # units per customer
    frozen: bool = False
    version: int = Field(sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)


class Purchase(SQLModel, table=True):
    """What one customer holds and has bought of one product."""

    __tablename__ = "purchase"
    __table_args__ = (CheckConstraint("held >= 0 AND sold >= 0", name="purchase_counts"),)

    product_id: str = Field(primary_key=True, max_length=64)
    customer_id: str = Field(primary_key=True, max_length=64)
    held: int = Field(sa_type=BigInteger)
    sold: int = Field(sa_type=BigInteger)


class SoldEarlier(SQLModel, table=True):
    """What a customer has bought of a product by reservations that were deleted after their retention."""

    __tablename__ = "sold_earlier"
    __table_args__ = (CheckConstraint("sold > 0", name="sold_earlier_sold"),)

    product_id: str = Field(primary_key=True, max_length=64)
    customer_id: str = Field(primary_key=True, max_length=64)
    sold: int = Field(sa_type=BigInteger)


class Adjustment(SQLModel, table=True):
    """A recorded change of what is on hand, other than a sale. on_hand: what was there after it."""

    __tablename__ = "adjustment"
    __table_args__ = (Index("adjustment_by_product", "product_id", "id"),)

    id: str = Field(primary_key=True, max_length=64)
    product_id: str = Field(max_length=64)
    delta: int = Field(sa_type=BigInteger)
    reason: str = Field(max_length=200)
    on_hand: int = Field(sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)


PRODUCT: Final = table_of(Product)
PURCHASE: Final = table_of(Purchase)
SOLD_EARLIER: Final = table_of(SoldEarlier)
ADJUSTMENT: Final = table_of(Adjustment)

TABLES: Final[tuple[Table, ...]] = (
    PRODUCT,
    PURCHASE,
    SOLD_EARLIER,
    ADJUSTMENT,
    DROP_OFFER,
    DROP_CLAIM,
    RESERVATION,
    OUTBOX,
    INSTANCE,
    LETTER,
    LEDGER,
    ACTS,
    IDEMPOTENCY,
)
"""Every table of this program's database."""
