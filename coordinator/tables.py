"""The coordinator's tables: a row for each transaction, and its timeline beside it."""

from typing import Final

from sqlalchemy import BigInteger, Index, Integer, Table
from sqlmodel import Field, SQLModel

from shared.database.port import table_of
from shared.messaging.ledger import LEDGER
from shared.messaging.letters import LETTER
from shared.messaging.outbox import OutboxRow


class TransactionRow(SQLModel, table=True):
    """A transaction as one document. Instants are milliseconds since the epoch.

    One row, because a transaction changes as a whole: the compare-and-set on `version` is the decision.
    """

    __tablename__ = "tcc_transaction"
    __table_args__ = (
        # What recovery looks for; NULL where nothing is to be done later.
        Index("tcc_transaction_by_due", "due_at"),
        Index("tcc_transaction_by_state", "state", "id"),
        Index("tcc_transaction_by_attention", "attention", "id"),
    )

    id: str = Field(primary_key=True, max_length=64)
    state: str = Field(max_length=10)
    mode: str = Field(max_length=6)
    initiator: str | None = Field(default=None, max_length=64)
    timeout: int = Field(sa_type=BigInteger)
    deadline: int = Field(sa_type=BigInteger)
    branches: str  # JSON
    body_hash: str = Field(max_length=64)
    reason: str | None = Field(default=None, max_length=200)
    attention: str | None = None
    version: int
    due_at: int | None = Field(default=None, sa_type=BigInteger)
    decided_at: int | None = Field(default=None, sa_type=BigInteger)
    traceparent: str | None = Field(default=None, max_length=55)
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)


class TimelineRow(SQLModel, table=True):
    """What happened to a transaction between two of its commits, as a JSON array of events."""

    __tablename__ = "timeline"
    __table_args__ = (Index("timeline_by_transaction", "transaction_id", "id"),)

    id: int | None = Field(
        default=None, primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite")
    )
    transaction_id: str = Field(max_length=64)
    events: str


TRANSACTION: Final = table_of(TransactionRow)
TIMELINE: Final = table_of(TimelineRow)
TABLES: Final[tuple[Table, ...]] = (
    TRANSACTION,
    TIMELINE,
    table_of(OutboxRow),
    LETTER,
    LEDGER,
)
