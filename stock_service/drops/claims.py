"""Claims in the database: how they are read and listed. What moves them is `stock_service.drops.journal`."""

from collections.abc import Collection
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, select

from shared.clock import Millis
from shared.database.prepared import Prepared
from shared.errors import NotFound
from stock_service.drops.domain import ClaimState
from stock_service.drops.tables import DROP_CLAIM, LIVE, OWED


class Claim(NamedTuple):
    """A row of drop_claim, its columns in their order."""

    id: str
    code: str
    customer_id: str
    slot: int
    state: ClaimState
    reason: str | None
    publications: int
    due_at: Millis
    owed: bool
    created_at: Millis
    updated_at: Millis


def find(connection: Connection, claim_id: str) -> Claim | None:
    """Read a claim and hold its row until the commit; None where there is none."""
    row = _LOCK.row(connection, {"of_id": claim_id})
    return None if row is None else _claim(row)


def read(connection: Connection, claim_id: str) -> Claim:
    """Read a claim that is known to be there, without a lock."""
    row = _READ.row(connection, {"of_id": claim_id})
    assert row is not None, f"there is no claim {claim_id}"
    return _claim(row)


def of_customer(connection: Connection, code: str, customer_id: str) -> Claim:
    """Return a customer's latest claim of a drop, a live one if there is any; raises NotFound."""
    parameters = {"of_code": code, "of_customer": customer_id}
    row = _LATEST_LIVE.row(connection, parameters) or _LATEST.row(connection, parameters)
    if row is None:
        raise unknown_claim(code, customer_id)
    return _claim(row)


def slots(connection: Connection, code: str, customer_id: str) -> list[int]:
    """Return the places that a customer's live claims of a drop hold."""
    rows = _SLOTS.rows(connection, {"of_code": code, "of_customer": customer_id})
    return [slot for (slot,) in rows]


def known_among(connection: Connection, claim_ids: Collection[str]) -> dict[str, Claim]:
    """Return those of the claims that there are, by their ids."""
    statement = select(DROP_CLAIM).where(DROP_CLAIM.c.id.in_(list(claim_ids)))
    return {row.id: _claim(row) for row in connection.execute(statement)}


def page(
    connection: Connection,
    code: str,
    *,
    after: str,
    most: int,
    state: ClaimState | None = None,
    customer_id: str | None = None,
) -> list[Claim]:
    """Return up to `most` claims of a drop whose id comes after the given one, in the order of their ids."""
    statement = select(DROP_CLAIM).where(DROP_CLAIM.c.code == code, DROP_CLAIM.c.id > after)
    if state is not None:
        statement = statement.where(DROP_CLAIM.c.state == state.value)
    if customer_id is not None:
        statement = statement.where(DROP_CLAIM.c.customer_id == customer_id)
    return [_claim(row) for row in connection.execute(statement.order_by(DROP_CLAIM.c.id).limit(most))]


def live_page(connection: Connection, code: str, after: str, most: int) -> list[Claim]:
    """Return up to `most` live claims of a drop whose id comes after the given one."""
    rows = _LIVE_PAGE.rows(connection, {"of_code": code, "after": after, "most": most})
    return [_claim(row) for row in rows]


def due(connection: Connection, now: Millis, most: int) -> list[Claim]:
    """Return PENDING claims of which something should have been heard by now, the longest due first."""
    return [_claim(row) for row in _DUE.rows(connection, {"now": now, "most": most})]


def owed(connection: Connection, most: int) -> list[Claim]:
    """Return returned claims that a gate elsewhere still counts."""
    return [_claim(row) for row in _OWED.rows(connection, {"most": most})]


def _claim(row: Any) -> Claim:
    claim = Claim(*row)
    return claim._replace(state=ClaimState(claim.state), owed=bool(claim.owed))


_OF_CUSTOMER: Final = (
    DROP_CLAIM.c.code == bindparam("of_code"),
    DROP_CLAIM.c.customer_id == bindparam("of_customer"),
)
_BY_ID: Final = select(DROP_CLAIM).where(DROP_CLAIM.c.id == bindparam("of_id"))
_READ: Final = Prepared(_BY_ID)
_LOCK: Final = Prepared(_BY_ID.with_for_update())
_OF_ONE: Final = select(DROP_CLAIM).where(*_OF_CUSTOMER).order_by(DROP_CLAIM.c.id.desc()).limit(1)
_LATEST: Final = Prepared(_OF_ONE)
_LATEST_LIVE: Final = Prepared(_OF_ONE.where(LIVE))
_SLOTS: Final = Prepared(select(DROP_CLAIM.c.slot).where(*_OF_CUSTOMER, LIVE))
_LIVE_PAGE: Final = Prepared(
    select(DROP_CLAIM)
    .where(DROP_CLAIM.c.code == bindparam("of_code"), DROP_CLAIM.c.id > bindparam("after"), LIVE)
    .order_by(DROP_CLAIM.c.id)
    .limit(bindparam("most"))
)
_DUE: Final = Prepared(
    select(DROP_CLAIM)
    .where(DROP_CLAIM.c.state == ClaimState.PENDING.value, DROP_CLAIM.c.due_at <= bindparam("now"))
    .order_by(DROP_CLAIM.c.due_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_OWED: Final = Prepared(select(DROP_CLAIM).where(OWED).order_by(DROP_CLAIM.c.id).limit(bindparam("most")))


def unknown_claim(code: str, customer_id: str) -> NotFound:
    """Return what is said of a claim that there isn't, or that is another customer's."""
    return NotFound(f"Customer {customer_id} has claimed nothing of drop {code}.", "unknown-claim")
