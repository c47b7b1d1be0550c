"""The headers of an event as columns of the outbox, for those who read it in the database's log."""

import sqlalchemy as sa
from alembic import op

revision = "messaging_0003"
down_revision = "messaging_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "traceparent"):
        op.add_column("outbox", sa.Column(name, sa.String(), nullable=True))
