"""Which participant's answer a transaction waits for."""

import sqlalchemy as sa
from alembic import op

revision = "coordinator_0004"
down_revision = "coordinator_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tcc_transaction", sa.Column("waits_for", sa.String(length=64), nullable=True))
    op.create_index(
        "tcc_transaction_by_waits_for",
        "tcc_transaction",
        ["waits_for", "due_at"],
        unique=False,
        sqlite_where=sa.text("waits_for IS NOT NULL"),
        postgresql_where=sa.text("waits_for IS NOT NULL"),
    )
