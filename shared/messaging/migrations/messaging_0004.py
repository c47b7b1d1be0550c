"""Settled letters are found by when they were settled, so that they can go after their retention."""

import sqlalchemy as sa
from alembic import op

revision = "messaging_0004"
down_revision = "messaging_0003"
branch_labels = None
depends_on = None

SETTLED = sa.text("state NOT IN ('OPEN', 'REPLAYING', 'PARKED')")


def upgrade() -> None:
    op.create_index(
        "letter_settled",
        "letter",
        ["updated_at", "id"],
        unique=False,
        sqlite_where=SETTLED,
        postgresql_where=SETTLED,
    )
