"""Orders in the database: every statement that touches them, each built once.

    add          writes a new order down, or finds the one that has its id
    move         one compare-and-set along an edge of the domain's table; whoever comes late changes nothing
    refuse       the same for a refusal, which also keeps what the customer was told
    find, status_by_transaction, page, due  reads
    postpone     the sweeper's own bookkeeping

All are plain functions over a Connection and run inside `Database.write` or `Database.read`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pydantic_core
from sqlalchemy import Connection, and_, bindparam, case, func, literal_column, null, select, update

from order_service.domain import (
    FINAL,
    LET_GO,
    RESERVATION_EXPIRED,
    TRANSACTION_EXPIRED,
    Line,
    Refusal,
    Status,
    sources,
)
from order_service.tables import ORDERS
from shared.clock import Millis
from shared.database.port import insert_new
from shared.database.prepared import Prepared

SETTLE_MS: Final = 60_000
"""How long a decided order may take to settle before the sweeper asks what became of it."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order as read. expires_at: of a hold; due_at: when the sweeper looks at it, None once final."""

    order_id: str
    transaction_id: str
    customer_id: str
    lines: tuple[Line, ...]
    payment_amt: int
    hold_seconds: int | None
    body_hash: str
    status: Status
    reason: str | None
    refusal: Refusal | None
    expires_at: Millis | None
    attempts: int
    due_at: Millis | None
    created_at: Millis
    updated_at: Millis


def add(connection: Connection, order: Order) -> Order | None:
    """Write a new order down; where its id is taken already, write nothing and return who has it."""
    if insert_new(connection, ORDERS, _values(order)):
        return None
    known = find(connection, order.order_id)
    assert known is not None, f"the transaction id {order.transaction_id} of {order.order_id} is taken"
    return known


def find(connection: Connection, order_id: str) -> Order | None:
    return _order(_BY_ID.row(connection, {"id": order_id}))


def status_by_transaction(connection: Connection, transaction_id: str) -> tuple[str, Status] | None:
    """Return id and status of the order that belongs to the transaction."""
    row = _STATUS.row(connection, {"id": transaction_id})
    return None if row is None else (row[0], Status(row[1]))


def move(
    connection: Connection, transaction_id: str, target: Status, now: Millis, reason: str | None = None
) -> bool:
    """Move an order along an edge to target; return False where there is no such edge from where it stands.

    reason: for CANCELLING and CANCELLED; the first one recorded stays.
    """
    parameters: dict[str, Any] = {"id": transaction_id, "now": now}
    if target in LET_GO:
        parameters["why"] = reason
    if target not in FINAL:
        parameters["due"] = now + SETTLE_MS
    return _MOVES[target].hits(connection, parameters)


def hold(
    connection: Connection, transaction_id: str, now: Millis, expires_at: Millis, due_at: Millis
) -> bool:
    """Move PENDING to HELD until the instant that the coordinator gave."""
    parameters = {"id": transaction_id, "now": now, "expires": expires_at, "due": due_at}
    return _HOLD.hits(connection, parameters)


def refuse(connection: Connection, transaction_id: str, refusal: Refusal, now: Millis) -> bool:
    """Record why an order is not kept: PENDING or HELD becomes CANCELLING, what is let go learns the words.

    Returns False where the order is kept or has its refusal already.
    """
    parameters = {
        "id": transaction_id,
        "now": now,
        "due": now + SETTLE_MS,
        "why": refusal.reason,
        "told": _encode_refusal(refusal),
    }
    return _REFUSE.run(connection, parameters) == 1


def claim_due(connection: Connection, now: Millis, until: Millis, most: int) -> list[Order]:
    """Take up to `most` orders that are not final and of which nobody spoke for too long.

    The most overdue come first. They are held back from other sweepers until `until`.
    """
    return [_known(row) for row in _CLAIM_DUE.rows(connection, {"now": now, "until": until, "most": most})]


def postpone(connection: Connection, postponements: Sequence[tuple[str, Millis]]) -> None:
    """Look at each order (by transaction id) again at its instant, unless it became final meanwhile."""
    parameters = [{"id": transaction_id, "at": at} for transaction_id, at in postponements]
    if parameters:
        _POSTPONE.run_many(connection, parameters)


def page(
    connection: Connection, *, customer_id: str | None, status: Status | None, after: str | None, limit: int
) -> list[Order]:
    """Return up to limit orders, the newest first, that come after the given transaction id."""
    statement = select(ORDERS).order_by(ORDERS.c.transaction_id.desc()).limit(limit)
    if customer_id is not None:
        statement = statement.where(ORDERS.c.customer_id == customer_id)
    if status is not None:
        statement = statement.where(ORDERS.c.status == status.value)
    if after is not None:
        statement = statement.where(ORDERS.c.transaction_id < after)
    return [_known(row) for row in connection.execute(statement).all()]


def _values(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "transaction_id": order.transaction_id,
        "customer_id": order.customer_id,
        "items": pydantic_core.to_json([(line.product_id, line.qty) for line in order.lines]).decode(),
        "payment_amt": order.payment_amt,
        "hold_seconds": order.hold_seconds,
        "body_hash": order.body_hash,
        "status": order.status.value,
        "reason": order.reason,
        "refusal": None if order.refusal is None else _encode_refusal(order.refusal),
        "expires_at": order.expires_at,
        "attempts": order.attempts,
        "due_at": order.due_at,
        "created_at": order.created_at,
        "updated_at": order.updated_at,
    }


def _order(row: Sequence[Any] | None) -> Order | None:
    return None if row is None else _known(row)


def _known(row: Sequence[Any]) -> Order:
    values = dict(zip(ORDERS.c.keys(), row, strict=True))
    lines = pydantic_core.from_json(values.pop("items"))
    values["lines"] = tuple(Line(product_id, qty) for product_id, qty in lines)
    values["status"] = Status(values["status"])
    told = values["refusal"]
    values["refusal"] = None if told is None else Refusal(**pydantic_core.from_json(told))
    return Order(**values)


def _encode_refusal(refusal: Refusal) -> str:
    return pydantic_core.to_json(
        {
            "slug": refusal.slug,
            "status": refusal.status,
            "detail": refusal.detail,
            "reason": refusal.reason,
            "members": dict(refusal.members),
        }
    ).decode()


def _constant(status: Status) -> Any:
    # Written into the statement, so that its text is fixed: an IN list of parameters is rendered anew at
    # every execution.
    return literal_column(f"'{status.value}'", ORDERS.c.status.type)


def _is_one_of(statuses: Iterable[Status]) -> Any:
    return ORDERS.c.status.in_([_constant(status) for status in statuses])


_BY_ID = Prepared(select(ORDERS).where(ORDERS.c.order_id == bindparam("id")))
_STATUS = Prepared(
    select(ORDERS.c.order_id, ORDERS.c.status).where(ORDERS.c.transaction_id == bindparam("id"))
)
# Of several sweepers that look at the same time, each gets others: what one has locked, the next skips.
_DUE = (
    select(ORDERS.c.transaction_id)
    .where(ORDERS.c.due_at <= bindparam("now"))
    .order_by(ORDERS.c.due_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("due")
)
_CLAIM_DUE = Prepared(
    update(ORDERS)
    .where(ORDERS.c.transaction_id.in_(select(_DUE.c.transaction_id)))
    .values(due_at=bindparam("until"))
    .returning(ORDERS)
)
_ONE = ORDERS.c.transaction_id == bindparam("id")
_POSTPONE = Prepared(
    update(ORDERS)
    .where(_ONE, ORDERS.c.due_at.is_not(None))
    .values(attempts=ORDERS.c.attempts + 1, due_at=bindparam("at"))
)


_ZERO = literal_column("0", ORDERS.c.attempts.type)


def _first_reason() -> Any:
    """The reason that is there already, or the given one, in the words that fit a hold which ran out."""
    why = bindparam("why", type_=ORDERS.c.reason.type)
    expired = and_(ORDERS.c.hold_seconds.is_not(None), why == TRANSACTION_EXPIRED)
    return func.coalesce(ORDERS.c.reason, case((expired, RESERVATION_EXPIRED), else_=why))


def _move_to(target: Status) -> Prepared:
    values: dict[str, Any] = {
        "status": _constant(target),
        "attempts": _ZERO,
        "updated_at": bindparam("now"),
        "due_at": null() if target in FINAL else bindparam("due"),
    }
    if target in LET_GO:
        values["reason"] = _first_reason()
    if target is Status.HELD:
        values["expires_at"] = bindparam("expires")
    return Prepared(update(ORDERS).where(_ONE, _is_one_of(sources(target))).values(values))


_MOVES: Final[Mapping[Status, Prepared]] = {
    status: _move_to(status) for status in Status if status not in (Status.PENDING, Status.HELD)
}
_HOLD = _move_to(Status.HELD)
_OPEN = sources(Status.CANCELLING)
_REFUSE = Prepared(
    update(ORDERS)
    .where(_ONE, ORDERS.c.refusal.is_(None), _is_one_of([*_OPEN, *sorted(LET_GO)]))
    .values(
        status=case((_is_one_of(_OPEN), _constant(Status.CANCELLING)), else_=ORDERS.c.status),
        reason=_first_reason(),
        refusal=bindparam("told"),
        attempts=_ZERO,
        due_at=case(
            (ORDERS.c.status == _constant(Status.CANCELLED), null()),
            else_=bindparam("due", type_=ORDERS.c.due_at.type),
        ),
        updated_at=bindparam("now"),
    )
)
