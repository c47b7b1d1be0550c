"""The payment service's tables. Instants are milliseconds since the epoch, money is in minor units."""

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


class Account(SQLModel, table=True):
    """A customer's money, which only conditional updates touch. version: rises with every change."""

    __tablename__ = "account"
    __table_args__ = (
        CheckConstraint("held >= 0 AND held <= balance", name="account_held"),
        CheckConstraint("refunded >= 0 AND refunded <= captured", name="account_refunded"),
    )

    customer_id: str = Field(primary_key=True, max_length=64)
    balance: int = Field(sa_type=BigInteger)
    held: int = Field(sa_type=BigInteger)
    captured: int = Field(sa_type=BigInteger)
    refunded: int = Field(sa_type=BigInteger)
    version: int = Field(sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)


class Deposit(SQLModel, table=True):
    """A recorded change of a balance, other than by capture and refund. delta: negative for a withdrawal."""

    __tablename__ = "deposit"
    __table_args__ = (Index("deposit_by_customer", "customer_id", "id"),)

    id: str = Field(primary_key=True, max_length=64)
    customer_id: str = Field(max_length=64)
    delta: int = Field(sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)


class Capture(SQLModel, table=True):
    """Captured money and what was refunded of it. It outlives the reservation that it came from."""

    __tablename__ = "capture"
    __table_args__ = (CheckConstraint("refunded >= 0 AND refunded <= amount", name="capture_refunded"),)

    payment_id: str = Field(primary_key=True, max_length=64)
    customer_id: str = Field(max_length=64)
    order_id: str | None = Field(default=None, max_length=64)
    amount: int = Field(sa_type=BigInteger)
    refunded: int = Field(sa_type=BigInteger)
    captured_at: int = Field(sa_type=BigInteger)


class PaidEarlier(SQLModel, table=True):
    """What a customer has paid by reservations that were deleted after their retention."""

    __tablename__ = "paid_earlier"
    __table_args__ = (CheckConstraint("paid >= 0", name="paid_earlier_paid"),)

    customer_id: str = Field(primary_key=True, max_length=64)
    paid: int = Field(sa_type=BigInteger)


class Refund(SQLModel, table=True):
    """Money given back. due_at: when a PENDING one is taken up again; NULL where nothing is left to do."""

    __tablename__ = "refund"
    __table_args__ = (
        Index("refund_by_payment", "payment_id", "id"),
        Index("refund_by_due", "due_at"),
    )

    id: str = Field(primary_key=True, max_length=64)
    payment_id: str = Field(max_length=64)
    customer_id: str = Field(max_length=64)
    amount: int = Field(sa_type=BigInteger)
    reason: str = Field(max_length=200)
    created_at: int = Field(sa_type=BigInteger)
    state: str = Field(default="DONE", max_length=10, sa_column_kwargs={"server_default": "DONE"})
    attempts: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    due_at: int | None = Field(default=None, sa_type=BigInteger)


class Card(SQLModel, table=True):
    """How a customer pays at the gateway. method and holder: the gateway's ids of the card and its owner."""

    __tablename__ = "card"

    customer_id: str = Field(primary_key=True, max_length=64)
    method: str = Field(max_length=255)
    holder: str | None = Field(default=None, max_length=255)
    updated_at: int = Field(sa_type=BigInteger)


class CardPayment(SQLModel, table=True):
    """A payment by card, and the name under which the gateway knows it.

    method and holder: the card as it was when the payment began; intent_id: what the gateway made of it,
    None until that is known; barred: cancelled before it was known, so that it never will be.
    """

    __tablename__ = "card_payment"

    payment_id: str = Field(primary_key=True, max_length=64)
    method: str = Field(max_length=255)
    holder: str | None = Field(default=None, max_length=255)
    intent_id: str | None = Field(default=None, max_length=255)
    barred: bool = False
    created_at: int = Field(sa_type=BigInteger)


ACCOUNT: Final = table_of(Account)
DEPOSIT: Final = table_of(Deposit)
CAPTURE: Final = table_of(Capture)
PAID_EARLIER: Final = table_of(PaidEarlier)
REFUND: Final = table_of(Refund)
CARD: Final = table_of(Card)
CARD_PAYMENT: Final = table_of(CardPayment)

TABLES: Final[tuple[Table, ...]] = (
    ACCOUNT,
    DEPOSIT,
    CAPTURE,
    PAID_EARLIER,
    REFUND,
    CARD,
    CARD_PAYMENT,
    RESERVATION,
    OUTBOX,
    INSTANCE,
    LETTER,
    LEDGER,
    ACTS,
    IDEMPOTENCY,
)
"""Every table of this program's database."""
