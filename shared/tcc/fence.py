"""The fence: one row a branch, inserted before anything else, which makes every phase happen once.

The row is the reservation itself: what was claimed, by which transaction, until when, and how far it got.
"""

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Index,
    bindparam,
    case,
    delete,
    literal_column,
    select,
    text,
    tuple_,
    update,
)
from sqlmodel import Field, SQLModel

from shared.clock import Millis
from shared.database.port import insert_new, table_of
from shared.database.prepared import ByKey, Prepared
from shared.tcc.protocol import HOLDING, Phase, State

SETTLED: Final = text("state NOT IN ('TRYING', 'TRIED', 'CONFIRMING', 'CANCELLING')")
"""CONFIRMED or CANCELLED: nothing is left to do. Written out in statements as in the index, so that they can
use it; said with IN instead of NOT IN, SQLite would take the index by state and sort."""


class Reservation(SQLModel, table=True):
    """A branch as its participant knows it. Instants are milliseconds since the epoch."""

    __tablename__ = "reservation"
    __table_args__ = (
        Index("reservation_by_state", "state", "id"),
        # What the sweeper looks for; NULL where there is nothing to do later.
        Index("reservation_by_due", "due_at"),
        # What goes once its retention is over.
        Index("reservation_settled", "updated_at", "id", sqlite_where=SETTLED, postgresql_where=SETTLED),
    )

    id: str = Field(primary_key=True, max_length=64)
    transaction_id: str | None = Field(default=None, max_length=64)  # None: standalone
    state: str = Field(max_length=10)
    claim: str | None = None  # JSON; None on a tombstone
    claim_hash: str | None = Field(default=None, max_length=64)
    expires_at: int | None = Field(default=None, sa_type=BigInteger)
    reason: str | None = Field(default=None, max_length=200)
    refusal: str | None = None  # JSON of the problem with which the Try was refused
    in_doubt: bool = False  # who had to be asked (the coordinator, the other side of an effect) didn't answer
    intent: str | None = Field(default=None, max_length=10)  # phase of an external effect that has no answer
    undo: bool = False  # cancelled while an external effect was under way
    effect: str | None = None  # JSON of what the external effect answered last
    attempts: int = 0  # of whatever due_at waits for
    due_at: int | None = Field(default=None, sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)


class Fence(NamedTuple):
    """A reservation's row as read; its fields are the table's columns in their order.

    due_at: when the sweeper looks again, whose meaning follows from the rest: with an intent the end of
    its lease (or of a back-off, when in_doubt), TRIED the expiry, CONFIRMING the next publication.
    """

    id: str
    transaction_id: str | None
    state: State
    claim: str | None
    claim_hash: str | None
    expires_at: Millis | None
    reason: str | None
    refusal: str | None
    in_doubt: bool
    intent: Phase | None
    undo: bool
    effect: str | None
    attempts: int
    due_at: Millis | None
    created_at: Millis
    updated_at: Millis

    @classmethod
    def of(cls, row: Sequence[Any]) -> "Fence":
        """Read a row of the reservation table, in the order of its columns."""
        values = list(row)
        values[2] = _STATES[row[2]]
        values[8] = bool(row[8])
        values[9] = _PHASES[row[9]]
        values[10] = bool(row[10])
        return cls._make(values)

    @property
    def outside(self) -> bool:
        """Say whether something was begun for this branch outside the database."""
        return self.intent is not None or self.effect is not None

    def leased(self, now: Millis) -> bool:
        """Say whether somebody is carrying out this branch's external effect just now."""
        return self.intent is not None and not self.in_doubt and self.due_at is not None and self.due_at > now


RESERVATION: Final = table_of(Reservation)
_STATES: Final = {state.value: state for state in State}
_PHASES: Final[Mapping[str | None, Phase | None]] = {None: None} | {phase.value: phase for phase in Phase}
_BY_ID = select(RESERVATION).where(RESERVATION.c.id == bindparam("branch"))
_READ = Prepared(_BY_ID)
_LOCK = Prepared(_BY_ID.with_for_update())
_LOCK_MANY = ByKey(select(RESERVATION).with_for_update(), RESERVATION.c.id)
_INSERT = Prepared(RESERVATION.insert(), Fence._fields)
# Of several sweepers that look at the same time, each gets others: what one has locked, the next skips.
_DUE = (
    select(RESERVATION.c.id)
    .where(RESERVATION.c.due_at <= bindparam("now"))
    .order_by(RESERVATION.c.due_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("due")
)
_CLAIM_DUE = Prepared(
    update(RESERVATION)
    .where(RESERVATION.c.id.in_(select(_DUE.c.id)))
    # With an intent it is the lease of whoever carries it out, and recovery takes that over by itself.
    .values(due_at=case((RESERVATION.c.intent.is_(None), bindparam("until")), else_=RESERVATION.c.due_at))
    .returning(RESERVATION)
)
_ALL_AFTER = (
    select(RESERVATION)
    .where(RESERVATION.c.id > bindparam("after"))
    .order_by(RESERVATION.c.id)
    .limit(bindparam("most"))
)
_AFTER = Prepared(_ALL_AFTER)
_IN_STATE_AFTER = Prepared(_ALL_AFTER.where(RESERVATION.c.state == bindparam("in_state")))

_PLACE = (RESERVATION.c.updated_at, RESERVATION.c.id)
_SETTLED = (
    select(RESERVATION)
    .where(
        SETTLED,
        RESERVATION.c.updated_at < bindparam("before"),
        tuple_(*_PLACE) > tuple_(bindparam("settled_at", type_=BigInteger()), bindparam("after")),
    )
    .order_by(*_PLACE)
    .limit(bindparam("most"))
)


def insert(connection: Connection, fence: Fence) -> bool:
    """Insert the fence row; return False where the branch is known already."""
    return insert_new(connection, RESERVATION, fence._asdict())


def insert_all(connection: Connection, fences: Iterable[Fence]) -> None:
    """Insert many rows at once; raises IntegrityError where one of the branches is known already."""
    _INSERT.run_many(connection, (one._asdict() for one in fences))


def read(connection: Connection, branch_id: str) -> Fence | None:
    """Read a branch, taking its row's lock where the database has such."""
    row = _LOCK.row(connection, {"branch": branch_id})
    return None if row is None else Fence.of(row)


def read_many(connection: Connection, branch_ids: Collection[str]) -> dict[str, Fence]:
    """Read those of many branches that are known, taking their rows' locks where the database has such."""
    return {row[0]: Fence.of(row) for row in _LOCK_MANY.rows(connection, branch_ids)}


def peek(connection: Connection, branch_id: str) -> Fence | None:
    """Read a branch without a lock."""
    row = _READ.row(connection, {"branch": branch_id})
    return None if row is None else Fence.of(row)


def move(connection: Connection, held: Fence, **changes: Any) -> Fence:
    """Change a branch that this transaction has read (and locked); return it as it is then.

    It writes only where the branch is still in the state in which it was read.
    """
    parameters = {**changes, "from_id": held.id, "from_state": held.state}
    moved = _move(tuple(changes)).hits(connection, parameters)
    assert moved, f"the fence of {held.id} left {held.state} while it was held"
    return held._replace(**changes)


def claim_due(connection: Connection, now: Millis, until: Millis, most: int) -> list[Fence]:
    """Take up to `most` branches for which something is to be done by now, the longest due first.

    They are held back from other sweepers until `until`, but for those with an intent.
    """
    rows = _CLAIM_DUE.rows(connection, {"now": now, "until": until, "most": most})
    return [Fence.of(row) for row in rows]


def page(connection: Connection, state: State | None, after: str, most: int) -> list[Fence]:
    """Return up to `most` branches whose id comes after the given one, in the order of their ids."""
    if state is None:
        rows = _AFTER.rows(connection, {"after": after, "most": most})
    else:
        parameters = {"after": after, "most": most, "in_state": state.value}
        rows = _IN_STATE_AFTER.rows(connection, parameters)
    return [Fence.of(row) for row in rows]


def settled(connection: Connection, before: Millis, after: tuple[Millis, str], most: int) -> list[Fence]:
    """Return up to `most` branches that were settled before an instant, oldest first.

    after: a place to go on behind: when a branch was settled, and its id.
    """
    place = {"before": before, "settled_at": after[0], "after": after[1], "most": most}
    return [Fence.of(row) for row in connection.execute(_SETTLED, place)]


def forget(connection: Connection, branch_ids: Sequence[str]) -> list[Fence]:
    """Delete branches that are settled; return those that went, which nobody else has deleted before."""
    of_these = (RESERVATION.c.id.in_(branch_ids), SETTLED)
    rows = connection.execute(delete(RESERVATION).where(*of_these).returning(*RESERVATION.c))
    return [Fence.of(row) for row in rows]


def is_holding() -> ColumnElement[bool]:
    """Say in SQL that a reservation holds what it claims."""
    # Written into the statement: an IN list of parameters is rendered anew at every execution.
    return RESERVATION.c.state.in_([literal_column(f"'{state.value}'") for state in sorted(HOLDING)])


def is_confirmed() -> ColumnElement[bool]:
    """Say in SQL that a reservation keeps what it claimed."""
    return RESERVATION.c.state == literal_column(f"'{State.CONFIRMED.value}'")


@functools.cache
def _move(names: tuple[str, ...]) -> Prepared:
    # One statement for each set of changes, of which there are a handful: writing only what changes takes
    # half the time of writing everything that may.
    return Prepared(
        update(RESERVATION)
        .where(RESERVATION.c.id == bindparam("from_id"), RESERVATION.c.state == bindparam("from_state"))
        .values({name: bindparam(name) for name in names})
    )
