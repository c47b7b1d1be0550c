"""What the order service checks in its own database: each order against the reservation made with it.

They change in the same commit. Where the reservation has ended and its order has not, the order follows along
an edge of its own table; where they contradict each other, a person has to look.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, and_, bindparam, or_, select

from order_service import orders
from order_service.domain import EDGES, Status
from order_service.participant import OWN_BRANCH
from order_service.tables import ORDERS
from shared.clock import Clock, Millis
from shared.database.port import Database
from shared.tcc.audit import Auditor, Discrepancy, Ledger, LedgerAudit, Verdict
from shared.tcc.fence import RESERVATION
from shared.tcc.protocol import State


class Beside(NamedTuple):
    """An order and its own reservation, as far as each is there."""

    place: str
    transaction_id: str
    order_id: str | None
    status: str | None
    state: str | None
    reason: str | None


def auditors(database: Database, clock: Clock, retention_ms: Millis) -> list[Auditor]:
    """Return the checks of the order service's own tables.

    retention_ms: for how long reservations are kept after their end; an older order may be without its own.
    """

    def astray(connection: Connection, after: str, most: int) -> Sequence[Beside]:
        place = {"after": after, "most": most, "kept_since": clock.now() - retention_ms}
        return [Beside(*row) for row in connection.execute(_ASTRAY, place)]

    orders_ledger = Ledger("orders", astray, _judge_order, _lock, _follow)
    return [LedgerAudit(orders_ledger, database, clock), LedgerAudit(_RESERVATIONS, database, clock)]


def _reservations(connection: Connection, after: str, most: int) -> Sequence[Beside]:
    return [Beside(*row) for row in connection.execute(_WITHOUT_ORDER, {"after": after, "most": most})]


def _judge_order(one: Beside) -> list[Discrepancy]:
    evidence = {"transactionId": one.transaction_id, "status": one.status, "reservation": one.state}
    subject = f"order {one.order_id}"
    if one.state is None:
        return [Discrepancy("reservation-missing", subject, Verdict.PERSON, one.place, evidence)]
    verdict = Verdict.REPAIRABLE if _may_follow(one) else Verdict.PERSON
    return [Discrepancy("order-differs", subject, verdict, one.place, evidence)]


def _may_follow(one: Beside) -> bool:
    """Say whether the order may move to where its reservation ended."""
    return one.state is not None and Status(one.state) in EDGES[Status(str(one.status))]


def _judge_reservation(one: Beside) -> list[Discrepancy]:
    evidence = {"transactionId": one.transaction_id, "reservation": one.state}
    return [Discrepancy("order-missing", f"reservation {one.place}", Verdict.PERSON, one.place, evidence)]


def _lock(connection: Connection, rows: Sequence[Beside]) -> None:
    wanted = [row.transaction_id for row in rows]
    statement = select(ORDERS.c.order_id).where(ORDERS.c.transaction_id.in_(wanted))
    connection.execute(statement.order_by(ORDERS.c.transaction_id).with_for_update())


def _follow(connection: Connection, one: Beside, now: Millis) -> bool:
    if not _may_follow(one):
        return False
    return orders.move(connection, one.transaction_id, Status(str(one.state)), now, one.reason)


def _leave(_connection: Connection, _one: Beside, _now: Millis) -> bool:
    return False


def _ended(state: State, status: Status) -> Any:
    return and_(RESERVATION.c.state == state.value, ORDERS.c.status != status.value)


_ASTRAY: Final = (
    select(
        ORDERS.c.transaction_id.label("place"),
        ORDERS.c.transaction_id,
        ORDERS.c.order_id,
        ORDERS.c.status,
        RESERVATION.c.state,
        RESERVATION.c.reason,
    )
    .select_from(ORDERS.outerjoin(RESERVATION, RESERVATION.c.id == ORDERS.c.transaction_id + OWN_BRANCH))
    .where(
        or_(
            _ended(State.CONFIRMED, Status.CONFIRMED),
            _ended(State.CANCELLED, Status.CANCELLED),
            and_(
                RESERVATION.c.state.is_(None),
                or_(
                    ORDERS.c.status.not_in([Status.CONFIRMED.value, Status.CANCELLED.value]),
                    # An order is settled last, so its reservation is kept at least as long from then on.
                    and_(
                        ORDERS.c.status == Status.CONFIRMED.value,
                        ORDERS.c.updated_at >= bindparam("kept_since"),
                    ),
                ),
            ),
        ),
        ORDERS.c.transaction_id > bindparam("after"),
    )
    .order_by(ORDERS.c.transaction_id)
    .limit(bindparam("most"))
)
_WITHOUT_ORDER: Final = (
    select(
        RESERVATION.c.id,
        RESERVATION.c.transaction_id,
        ORDERS.c.order_id,
        ORDERS.c.status,
        RESERVATION.c.state,
        RESERVATION.c.reason,
    )
    .select_from(RESERVATION.outerjoin(ORDERS, ORDERS.c.transaction_id == RESERVATION.c.transaction_id))
    .where(
        # A Cancel of what was never tried leaves a tombstone, whose order nobody needs.
        ORDERS.c.order_id.is_(None),
        RESERVATION.c.state != State.CANCELLED.value,
        RESERVATION.c.id > bindparam("after"),
    )
    .order_by(RESERVATION.c.id)
    .limit(bindparam("most"))
)
_RESERVATIONS: Final = Ledger("order-reservations", _reservations, _judge_reservation, _lock, _leave)
