"""Cards, payments by card, and refunds that are under way."""

import sqlalchemy as sa
from alembic import op

revision = "payment_0002"
down_revision = "payment_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "card",
        sa.Column("customer_id", sa.String(length=64), nullable=False),
        sa.Column("method", sa.String(length=255), nullable=False),
        sa.Column("holder", sa.String(length=255), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id"),
    )
    op.create_table(
        "card_payment",
        sa.Column("payment_id", sa.String(length=64), nullable=False),
        sa.Column("method", sa.String(length=255), nullable=False),
        sa.Column("holder", sa.String(length=255), nullable=True),
        sa.Column("intent_id", sa.String(length=255), nullable=True),
        sa.Column("barred", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("payment_id"),
    )
    # Every refund until now was done in the commit that recorded it.
    op.add_column("refund", sa.Column("state", sa.String(length=10), server_default="DONE", nullable=False))
    op.add_column("refund", sa.Column("attempts", sa.Integer(), server_default="0", nullable=False))
    op.add_column("refund", sa.Column("due_at", sa.BigInteger(), nullable=True))
    op.create_index("refund_by_due", "refund", ["due_at"], unique=False)
