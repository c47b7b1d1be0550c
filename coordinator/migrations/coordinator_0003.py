"""Transactions that ended long ago shrink; `shrunk_at` says which have."""

import sqlalchemy as sa
from alembic import op

revision = "coordinator_0003"
down_revision = "coordinator_0002"
branch_labels = None
depends_on = None

WHOLE = sa.text("shrunk_at IS NULL")
ENDED = sa.text("shrunk_at IS NULL AND state NOT IN ('TRYING', 'TRIED', 'CONFIRMING', 'CANCELLING')")


def upgrade() -> None:
    op.add_column("tcc_transaction", sa.Column("shrunk_at", sa.BigInteger(), nullable=True))
    op.create_index(
        "tcc_transaction_ended",
        "tcc_transaction",
        ["updated_at", "id"],
        unique=False,
        sqlite_where=ENDED,
        postgresql_where=ENDED,
    )
    op.create_index(
        "tcc_transaction_whole",
        "tcc_transaction",
        ["id"],
        unique=False,
        sqlite_where=WHOLE,
        postgresql_where=WHOLE,
    )
