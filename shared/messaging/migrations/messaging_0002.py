"""Letters for those who answer for them: groups, parking, edits, and one ledger of all acts."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "messaging_0002"
down_revision = "messaging_0001"
branch_labels = None
depends_on = None

BATCH = 1_000
FRAME = re.compile(r'^ *File "([^"\n]+)", line \d+, in (.+)$', re.MULTILINE)
UNSETTLED = sa.text("state NOT IN ('EDITED', 'SETTLED')")


def upgrade() -> None:
    _add_columns()
    for row in _letters():
        _fill(row)
    _index_letters()
    op.create_table(
        "letter_act",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("letter_id", sa.String(length=64), nullable=False),
        sa.Column("act", sa.String(length=10), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(length=200), nullable=False),
        sa.Column("why", sa.String(length=500), nullable=True),
        sa.Column("details", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("letter_act_by_letter", "letter_act", ["letter_id", "at", "id"], unique=False)
    op.create_index("letter_act_by_time", "letter_act", ["at", "id"], unique=False)
    op.execute(
        "INSERT INTO letter_act (id, letter_id, act, at, who, why) "
        "SELECT id, letter_id, 'replay', at, who, why FROM replay"
    )
    op.drop_table("replay")


def _add_columns() -> None:
    columns: tuple[sa.Column[Any], ...] = (
        sa.Column("failed_at", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("fingerprint", sa.String(length=16), nullable=False, server_default=""),
        sa.Column("place", sa.String(length=200), nullable=False, server_default=""),
        sa.Column("key_digest", sa.String(length=16), nullable=True),
        sa.Column("replaces", sa.String(length=64), nullable=True),
        sa.Column("replaced_by", sa.String(length=64), nullable=True),
    )
    for column in columns:
        op.add_column("letter", column)


def _letters() -> Iterator[Any]:
    """Read the letters there are, some at a time: their stack traces are long."""
    after = ""
    statement = sa.text(
        "SELECT id, exception_type, stack_trace, key, updated_at FROM letter WHERE id > :after "
        "ORDER BY id LIMIT :most"
    )
    while rows := op.get_bind().execute(statement, {"after": after, "most": BATCH}).all():
        yield from rows
        after = rows[-1].id


def _fill(row: Any) -> None:
    frames = FRAME.findall(row.stack_trace)
    place = f"{frames[-1][0]} in {frames[-1][1]}"[:200] if frames else ""
    op.get_bind().execute(
        sa.text(
            "UPDATE letter SET failed_at = :failed_at, fingerprint = :fingerprint, place = :place, "
            "key_digest = :key_digest WHERE id = :id"
        ),
        {
            "id": row.id,
            # When it failed last was not kept; it can't have been later.
            "failed_at": row.updated_at,
            "fingerprint": _digest(f"{row.exception_type}\n{place}".encode()),
            "place": place,
            "key_digest": None if row.key is None else _digest(bytes(row.key)),
        },
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _index_letters() -> None:
    for name in ("letter_by_state", "letter_by_topic", "letter_unsettled"):
        op.drop_index(name, "letter")
    op.create_index(
        "letter_unsettled",
        "letter",
        ["topic", "subject"],
        unique=True,
        sqlite_where=UNSETTLED,
        postgresql_where=UNSETTLED,
    )
    op.create_index("letter_by_time", "letter", ["created_at", "id"], unique=False)
    for name, column in (
        ("letter_by_state", "state"),
        ("letter_by_topic", "topic"),
        ("letter_by_group", "fingerprint"),
        ("letter_by_exception", "exception_type"),
        ("letter_by_transaction", "transaction_id"),
        ("letter_by_key", "key_digest"),
    ):
        op.create_index(name, "letter", [column, "created_at", "id"], unique=False)
