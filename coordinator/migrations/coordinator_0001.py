"""Transactions and their timelines."""

import sqlalchemy as sa
from alembic import op

revision = "coordinator_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tcc_transaction",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("mode", sa.String(length=6), nullable=False),
        sa.Column("initiator", sa.String(length=64), nullable=True),
        sa.Column("timeout", sa.BigInteger(), nullable=False),
        sa.Column("deadline", sa.BigInteger(), nullable=False),
        sa.Column("branches", sa.String(), nullable=False),
        sa.Column("body_hash", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=True),
        sa.Column("attention", sa.String(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("traceparent", sa.String(length=55), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("tcc_transaction_by_attention", "tcc_transaction", ["attention", "id"], unique=False)
    op.create_index("tcc_transaction_by_due", "tcc_transaction", ["due_at"], unique=False)
    op.create_index("tcc_transaction_by_state", "tcc_transaction", ["state", "id"], unique=False)
    op.create_table(
        "timeline",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("transaction_id", sa.String(length=64), nullable=False),
        sa.Column("events", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("timeline_by_transaction", "timeline", ["transaction_id", "id"], unique=False)
