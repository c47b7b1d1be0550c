"""Drops and the journal of their claims."""

import sqlalchemy as sa
from alembic import op

revision = "stock_0002"
down_revision = "stock_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drop_offer",
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("per_customer", sa.Integer(), nullable=False),
        sa.Column("opens_at", sa.BigInteger(), nullable=True),
        sa.Column("closes_at", sa.BigInteger(), nullable=True),
        sa.Column("taken", sa.BigInteger(), nullable=False),
        sa.Column("issued", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("taken >= 0 AND taken <= quantity", name="drop_offer_taken"),
        sa.CheckConstraint("issued >= 0 AND issued <= taken", name="drop_offer_issued"),
        sa.PrimaryKeyConstraint("code"),
    )
    op.create_table(
        "drop_claim",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("customer_id", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("publications", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("owed", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("slot >= 1", name="drop_claim_slot"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "drop_claim_live",
        "drop_claim",
        ["code", "customer_id", "slot"],
        unique=True,
        sqlite_where=sa.text("state <> 'RETURNED'"),
        postgresql_where=sa.text("state <> 'RETURNED'"),
    )
    op.create_index("drop_claim_by_drop", "drop_claim", ["code", "id"], unique=False)
    op.create_index("drop_claim_by_state", "drop_claim", ["code", "state", "id"], unique=False)
    op.create_index("drop_claim_by_customer", "drop_claim", ["code", "customer_id", "id"], unique=False)
    op.create_index(
        "drop_claim_due",
        "drop_claim",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'PENDING'"),
        postgresql_where=sa.text("state = 'PENDING'"),
    )
    op.create_index(
        "drop_claim_owed",
        "drop_claim",
        ["id"],
        unique=False,
        sqlite_where=sa.text("owed"),
        postgresql_where=sa.text("owed"),
    )
