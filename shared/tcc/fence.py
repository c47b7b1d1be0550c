"""The fence: one row a branch, inserted before anything else, which makes every phase happen once.

The row is the reservation itself: what was claimed, by which transaction, until when, and how far it got.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Index, bindparam, select, update
from sqlmodel import Field, SQLModel

from shared.clock import Millis
from shared.database.port import insert_new, table_of
from shared.tcc.protocol import State


class Reservation(SQLModel, table=True):
    """A branch as its participant knows it. Instants are milliseconds since the epoch."""

    __tablename__ = "reservation"
    __table_args__ = (
        Index("reservation_by_state", "state", "id"),
        # What the sweeper looks for; NULL where there is nothing to do later.
        Index("reservation_by_due", "due_at"),
        Index("reservation_by_transaction", "transaction_id"),
    )

    id: str = Field(primary_key=True, max_length=64)
    transaction_id: str | None = Field(default=None, max_length=64)  # None: standalone
    state: str = Field(max_length=10)
    claim: str | None = None  # JSON; None on a tombstone
    claim_hash: str | None = Field(default=None, max_length=64)
    expires_at: int | None = Field(default=None, sa_type=BigInteger)
    reason: str | None = Field(default=None, max_length=200)
    refusal: str | None = None  # JSON of the problem with which the Try was refused
    in_doubt: bool = False  # expired, and the coordinator could not be asked
    undo: bool = False  # cancelled while an external effect was under way
    effect: str | None = None  # JSON of what the external effect answered
    attempts: int = 0  # of whatever due_at waits for
    due_at: int | None = Field(default=None, sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)


RESERVATION: Final = table_of(Reservation)
_READ = select(RESERVATION).where(RESERVATION.c.id == bindparam("branch"))
_LOCK = _READ.with_for_update()


@dataclass(frozen=True, slots=True)
class Fence:
    """A reservation's row as read."""

    id: str
    transaction_id: str | None
    state: State
    claim: str | None
    claim_hash: str | None
    expires_at: Millis | None
    reason: str | None
    refusal: str | None
    in_doubt: bool
    undo: bool
    effect: str | None
    attempts: int
    due_at: Millis | None
    created_at: Millis
    updated_at: Millis

    @classmethod
    def of(cls, row: Any) -> "Fence":
        """Read a row of the reservation table."""
        values = row._asdict()
        values["state"] = State(values["state"])
        return cls(**values)


def insert(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Insert the fence row; return False where the branch is known already."""
    return insert_new(connection, RESERVATION, row)


def read(connection: Connection, branch_id: str) -> Fence | None:
    """Read a branch, taking its row's lock where the database has such."""
    row = connection.execute(_LOCK, {"branch": branch_id}).one_or_none()
    return None if row is None else Fence.of(row)


def peek(connection: Connection, branch_id: str) -> Fence | None:
    """Read a branch without a lock."""
    row = connection.execute(_READ, {"branch": branch_id}).one_or_none()
    return None if row is None else Fence.of(row)


def move(connection: Connection, branch_id: str, from_state: State, to_state: State, **changes: Any) -> None:
    """Move a branch that this transaction has read (and locked) to another state."""
    statement = (
        update(RESERVATION)
        .where(RESERVATION.c.id == branch_id, RESERVATION.c.state == from_state.value)
        .values(state=to_state.value, **changes)
    )
    moved = connection.execute(statement).rowcount
    assert moved == 1, f"the fence of {branch_id} left {from_state} while it was held"
