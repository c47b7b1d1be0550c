"""What was paid by reservations that are deleted after their retention."""

import sqlalchemy as sa
from alembic import op

revision = "payment_0003"
down_revision = "payment_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "paid_earlier",
        sa.Column("customer_id", sa.String(length=64), nullable=False),
        sa.Column("paid", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("paid >= 0", name="paid_earlier_paid"),
        sa.PrimaryKeyConstraint("customer_id"),
    )
