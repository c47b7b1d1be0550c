"""What was sold by reservations that are deleted after their retention."""

import sqlalchemy as sa
from alembic import op

revision = "stock_0003"
down_revision = "stock_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sold_earlier",
        sa.Column("product_id", sa.String(length=64), nullable=False),
        sa.Column("customer_id", sa.String(length=64), nullable=False),
        sa.Column("sold", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("sold > 0", name="sold_earlier_sold"),
        sa.PrimaryKeyConstraint("product_id", "customer_id"),
    )
