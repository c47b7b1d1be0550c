"""Settled branches are found by when they were settled, so that they can go after their retention."""

import sqlalchemy as sa
from alembic import op

revision = "tcc_0002"
down_revision = "tcc_0001"
branch_labels = None
depends_on = None

SETTLED = sa.text("state NOT IN ('TRYING', 'TRIED', 'CONFIRMING', 'CANCELLING')")


def upgrade() -> None:
    op.create_index(
        "reservation_settled",
        "reservation",
        ["updated_at", "id"],
        unique=False,
        sqlite_where=SETTLED,
        postgresql_where=SETTLED,
    )
