"""The coordinator's tables: a row for each transaction, and its timeline beside it."""

from typing import Final

from sqlalchemy import BigInteger, Index, Integer, Table, text
from sqlmodel import Field, SQLModel

from shared.database.port import table_of
from shared.messaging.ledger import LEDGER
from shared.messaging.letters import LETTER
from shared.messaging.outbox import OUTBOX
from shared.messaging.presence import INSTANCE
from shared.security.acts import ACTS

WHOLE: Final = text("shrunk_at IS NULL")
ENDED: Final = text("shrunk_at IS NULL AND state NOT IN ('TRYING', 'TRIED', 'CONFIRMING', 'CANCELLING')")
"""Written out in statements as in the indexes, so that they can use them. Said with IN instead of NOT IN,
SQLite would take the index by state and sort."""


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
        # What is still whole: the oldest that has ended is shrunk next, and a reconciliation reads no other.
        Index("tcc_transaction_ended", "updated_at", "id", sqlite_where=ENDED, postgresql_where=ENDED),
        Index("tcc_transaction_whole", "id", sqlite_where=WHOLE, postgresql_where=WHOLE),
        # What is taken up when a participant answers again: of few rows, so that the many cost nothing.
        Index(
            "tcc_transaction_by_waits_for",
            "waits_for",
            "due_at",
            sqlite_where=text("waits_for IS NOT NULL"),
            postgresql_where=text("waits_for IS NOT NULL"),
        ),
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
    shrunk_at: int | None = Field(default=None, sa_type=BigInteger)  # None: it is whole
    waits_for: str | None = Field(default=None, max_length=64)  # the participant whose answer is missing


class TimelineRow(SQLModel, table=True):
    """What happened to a transaction between two of its commits, as a JSON array of events."""

    __tablename__ = "timeline"
    __table_args__ = (Index("timeline_by_transaction", "transaction_id", "id"),)

    id: int | None = Field(
        default=None, primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite")
    )
    transaction_id: str = Field(max_length=64)
    events: str


class ReconciliationRow(SQLModel, table=True):
    """A run of the reconciliation, as far as it is. Instants are milliseconds since the epoch."""

    __tablename__ = "reconciliation"

    id: str = Field(primary_key=True, max_length=64)
    running: int | None = Field(default=None, unique=True)  # 1 while it runs, else NULL: one at a time
    state: str = Field(max_length=11)
    dry_run: bool
    phase: str = Field(max_length=12)
    total: int = Field(sa_type=BigInteger)
    read: int = Field(sa_type=BigInteger)
    counts: str  # JSON: what was found and repaired, by participant, kind and verdict
    problems: str  # JSON: what could not be done
    uncompared: str  # JSON: branches that can't be compared, by participant
    started_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)


class FindingRow(SQLModel, table=True):
    """Something that a run found."""

    __tablename__ = "finding"
    __table_args__ = (Index("finding_by_run", "reconciliation_id", "id"),)

    id: str = Field(primary_key=True, max_length=64)
    reconciliation_id: str = Field(max_length=64)
    participant: str = Field(max_length=64)
    kind: str = Field(max_length=64)
    subject: str = Field(max_length=300)
    transaction_id: str | None = Field(default=None, max_length=64)
    branch_id: str | None = Field(default=None, max_length=64)
    verdict: str = Field(max_length=10)
    evidence: str  # JSON
    repair: str | None = Field(default=None, max_length=20)  # what was done about it
    repaired: bool  # and whether it is right since
    found_at: int = Field(sa_type=BigInteger)


TRANSACTION: Final = table_of(TransactionRow)
TIMELINE: Final = table_of(TimelineRow)
RECONCILIATION: Final = table_of(ReconciliationRow)
FINDING: Final = table_of(FindingRow)
TABLES: Final[tuple[Table, ...]] = (
    TRANSACTION,
    TIMELINE,
    RECONCILIATION,
    FINDING,
    OUTBOX,
    INSTANCE,
    LETTER,
    LEDGER,
    ACTS,
)
