"""The durable log: transactions read from and written to their rows, each change a compare-and-set.

`save` is where decisions are made: it writes the new version only over the one that was read, and in the
same commit the Confirms to publish and what happened meanwhile. Whoever comes second gets Stale, reads again
and finds out what was decided.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import pydantic_core
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    TextClause,
    and_,
    bindparam,
    func,
    insert,
    select,
    update,
)

from coordinator.branch import Branch, BranchState
from coordinator.tables import TIMELINE, TRANSACTION, WHOLE
from coordinator.transaction import Mode, State, Transaction, waits_for, wake_at
from shared.clock import Millis
from shared.database.port import insert_new
from shared.database.prepared import ByKey, Prepared
from shared.errors import Transient
from shared.messaging.broker import Message
from shared.messaging.outbox import Outbox

Event = Mapping[str, Any]

_CHANGING: Final = (
    "state",
    "branches",
    "reason",
    "attention",
    "version",
    "due_at",
    "waits_for",
    "decided_at",
    "updated_at",
)
# A row is read as the fields of a Transaction, in their order.
_READ: Final = select(
    *(TRANSACTION.c["id" if name == "transaction_id" else name] for name in Transaction._fields)
)
_COUNT: Final = select(func.count()).select_from(TRANSACTION).where(WHOLE)
_BY_ID: Final = Prepared(_READ.where(TRANSACTION.c.id == bindparam("wanted")))
_BY_IDS: Final = ByKey(_READ, TRANSACTION.c.id)
_REPLACE: Final = Prepared(
    update(TRANSACTION).where(
        TRANSACTION.c.id == bindparam("wanted"), TRANSACTION.c.version == bindparam("read_version")
    ),
    columns=_CHANGING,
)
_ADD_EVENTS: Final = Prepared(insert(TIMELINE).inline(), columns=("transaction_id", "events"))
_EVENTS: Final = Prepared(
    select(TIMELINE.c.events).where(TIMELINE.c.transaction_id == bindparam("wanted")).order_by(TIMELINE.c.id)
)
# Of several instances that look at the same time, each gets others: what one has locked, the next skips.
_DUE: Final = (
    select(TRANSACTION.c.id)
    .where(TRANSACTION.c.due_at <= bindparam("now"))
    .order_by(TRANSACTION.c.due_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("due")
)
_LEASE_DUE: Final = Prepared(
    update(TRANSACTION)
    .where(TRANSACTION.c.id.in_(select(_DUE.c.id)))
    .values(due_at=bindparam("until"))
    .returning(*_READ.selected_columns)
)
_WAITING: Final = (
    select(TRANSACTION.c.id)
    .where(
        TRANSACTION.c.waits_for == bindparam("participant"),
        TRANSACTION.c.due_at > bindparam("beyond"),
        TRANSACTION.c.updated_at <= bindparam("since"),
    )
    .order_by(TRANSACTION.c.due_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("waiting")
)
_LEASE_WAITING: Final = Prepared(
    update(TRANSACTION)
    .where(TRANSACTION.c.id.in_(select(_WAITING.c.id)))
    .values(due_at=bindparam("until"))
    .returning(*_READ.selected_columns)
)
_HAND_BACK: Final = Prepared(
    update(TRANSACTION)
    .where(
        TRANSACTION.c.id == bindparam("wanted"),
        TRANSACTION.c.due_at > bindparam("now"),
        TRANSACTION.c.due_at <= bindparam("until"),
    )
    .values(due_at=bindparam("now"))
)
_STATES: Final = {state.value: state for state in State}
_BRANCH_STATES: Final = {state.value: state for state in BranchState}
_MODES: Final = {mode.value: mode for mode in Mode}


class Stale(Transient):
    """Somebody else changed the transaction meanwhile."""


class Change(NamedTuple):
    """A new version of a transaction, the Confirms to publish with it, and what happened since the last.

    due_at: when to look again; given to hold it back while somebody is at work on it.
    """

    transaction: Transaction
    messages: Sequence[Message] = ()
    events: Sequence[Event] = ()
    due_at: Millis | None = None


def create(connection: Connection, change: Change) -> Transaction | None:
    """Write a new transaction; return the one that has the id already, if there is one."""
    created = change.transaction
    if insert_new(connection, TRANSACTION, _row(created, change.due_at)):
        _add_events(connection, [change])
        return None
    return read(connection, created.transaction_id)


def read(connection: Connection, transaction_id: str) -> Transaction | None:
    row = _BY_ID.row(connection, {"wanted": transaction_id})
    return None if row is None else _transaction(row)


def read_many(connection: Connection, transaction_ids: Collection[str]) -> dict[str, Transaction]:
    return {row[0]: _transaction(row) for row in _BY_IDS.rows(connection, transaction_ids)}


def read_bulk(connection: Connection, transaction_ids: Collection[str]) -> dict[str, Transaction]:
    """Do the same in one statement, which pays where many are read in another thread."""
    rows = connection.execute(_READ.where(TRANSACTION.c.id.in_(transaction_ids)))
    return {row[0]: _transaction(row) for row in rows}


def count_whole(connection: Connection) -> int:
    """Return how many transactions there are that are not shrunk."""
    return connection.execute(_COUNT).scalar_one()


def save(connection: Connection, outbox: Outbox, changes: Sequence[Change], now: Millis) -> list[Transaction]:
    """Write new versions over those that were read, with their messages and events; raise Stale otherwise."""
    saved = []
    for change in changes:
        read_version = change.transaction.version
        next_one = change.transaction._replace(version=read_version + 1, updated_at=now)
        parameters = _changing(next_one, change.due_at)
        parameters["wanted"] = next_one.transaction_id
        parameters["read_version"] = read_version
        if not _REPLACE.hits(connection, parameters):
            raise Stale(f"Transaction {next_one.transaction_id} was changed by somebody else meanwhile.")
        saved.append(next_one)
    outbox.add(connection, [message for change in changes for message in change.messages])
    _add_events(connection, changes)
    return saved


def note(connection: Connection, transaction_id: str, events: Sequence[Event]) -> None:
    """Add to the timeline of a transaction that itself stays as it is."""
    rows = [{"transaction_id": transaction_id, "events": pydantic_core.to_json(events).decode()}]
    _ADD_EVENTS.later(connection, rows)


def lease_due(connection: Connection, now: Millis, until: Millis, most: int) -> list[Transaction]:
    """Take up to `most` transactions that are due, and hold them back from others until `until`."""
    rows = _LEASE_DUE.rows(connection, {"now": now, "most": most, "until": until})
    return [_transaction(row) for row in rows]


def lease_waiting(
    connection: Connection, participant: str, *, beyond: Millis, since: Millis, until: Millis, most: int
) -> list[Transaction]:
    """Take up to `most` transactions that wait for a participant's answer, and hold them back until `until`.

    beyond: only those that are due later than that by themselves (what is held back by others is not); since:
    only those that nobody has changed after that.
    """
    wanted = {"participant": participant, "beyond": beyond, "since": since}
    rows = _LEASE_WAITING.rows(connection, {**wanted, "until": until, "most": most})
    return [_transaction(row) for row in rows]


def hand_back(connection: Connection, transaction_ids: Iterable[str], now: Millis, until: Millis) -> None:
    """Let others have transactions that were held back until `until` at most."""
    for transaction_id in transaction_ids:
        _HAND_BACK.run(connection, {"wanted": transaction_id, "now": now, "until": until})


def timeline(connection: Connection, transaction_id: str) -> list[Event]:
    """Return every event of a transaction in the order in which they became durable; `at` in ms."""
    rows = _EVENTS.rows(connection, {"wanted": transaction_id})
    return [event for (events,) in rows for event in pydantic_core.from_json(events)]


def page(
    connection: Connection,
    *,
    state: State | None = None,
    attention: bool | None = None,
    whole: bool = False,
    after: str | None,
    most: int,
) -> list[Transaction]:
    """Return transactions in the order of their ids, filtered. whole: leave out those that are shrunk."""
    conditions: list[ColumnElement[bool] | TextClause] = [WHOLE] if whole else []
    if state is not None:
        conditions.append(TRANSACTION.c.state == state.value)
    if attention is not None:
        flag = TRANSACTION.c.attention
        conditions.append(flag.is_not(None) if attention else flag.is_(None))
    if after is not None:
        conditions.append(TRANSACTION.c.id > after)
    statement: Select[Any] = _READ.where(and_(True, *conditions))
    rows = connection.execute(statement.order_by(TRANSACTION.c.id).limit(most))
    return [_transaction(row) for row in rows]


def encode_branches(branches: Sequence[Branch]) -> str:
    # Each branch as the array of its fields, in their order: names would double what is written. Plain
    # tuples and strings are written five times as fast as their subclasses.
    return pydantic_core.to_json(
        [(*branch[:4], str(branch.state), *branch[5:]) for branch in branches]
    ).decode()


def decode_branches(encoded: str) -> tuple[Branch, ...]:
    read_branches = pydantic_core.from_json(encoded)
    for fields in read_branches:
        fields[4] = _BRANCH_STATES[fields[4]]
    return tuple([Branch._make(fields) for fields in read_branches])


def _add_events(connection: Connection, changes: Sequence[Change]) -> None:
    rows = [
        {
            "transaction_id": change.transaction.transaction_id,
            "events": pydantic_core.to_json(change.events).decode(),
        }
        for change in changes
        if change.events
    ]
    if rows:
        _ADD_EVENTS.later(connection, rows)


def _row(one: Transaction, due_at: Millis | None) -> dict[str, Any]:
    return {
        "id": one.transaction_id,
        "mode": one.mode.value,
        "initiator": one.initiator,
        "timeout": one.timeout,
        "deadline": one.deadline,
        "body_hash": one.body_hash,
        "traceparent": one.traceparent,
        "created_at": one.created_at,
        **_changing(one, due_at),
    }


def _changing(one: Transaction, due_at: Millis | None) -> dict[str, Any]:
    return {
        "state": one.state.value,
        "branches": encode_branches(one.branches),
        "reason": one.reason,
        "attention": one.attention,
        "version": one.version,
        "due_at": due_at if due_at is not None else wake_at(one),
        "waits_for": waits_for(one),
        "decided_at": one.decided_at,
        "updated_at": one.updated_at,
    }


def _transaction(row: Sequence[Any]) -> Transaction:
    transaction_id, mode, state, timeout, deadline, initiator, branches, *others = row
    return Transaction(
        transaction_id,
        _MODES[mode],
        _STATES[state],
        timeout,
        deadline,
        initiator,
        decode_branches(branches),
        *others,
    )
