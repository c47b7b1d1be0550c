"""Drops in the database: their terms and counters, and how the shopkeeper sets them."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, func, select, update

from shared.clock import Millis
from shared.database.port import insert_new
from shared.database.prepared import Prepared
from stock_service.drops.domain import ClaimState, Terms, check_terms, unknown_drop
from stock_service.drops.tables import DROP_CLAIM, DROP_OFFER, LIVE


class Offer(NamedTuple):
    """A row of drop_offer, its columns in their order."""

    code: str
    quantity: int
    per_customer: int
    opens_at: Millis | None
    closes_at: Millis | None
    taken: int
    issued: int
    epoch: int
    created_at: Millis
    updated_at: Millis

    @property
    def terms(self) -> Terms:
        return Terms(self.quantity, self.per_customer, self.opens_at, self.closes_at)


class Put(NamedTuple):
    """A drop after it was put. changed: it was there, and has other terms now."""

    offer: Offer
    created: bool
    changed: bool


def put(connection: Connection, code: str, changes: Mapping[str, Any], now: Millis) -> Put:
    """Create a drop or change its terms.

    changes: quantity, and of per_customer, opens_at and closes_at those that are given. Raises what
    domain.check_terms raises.
    """
    first = Offer(code, changes["quantity"], 1, None, None, 0, 0, now, now, now)
    created = insert_new(connection, DROP_OFFER, first._asdict())
    before = locked(connection, code)
    after = before._replace(**changes)
    check_terms(
        code, after.terms, taken=before.taken, most_of_one_customer=_most_of_one_customer(connection, code)
    )
    changed = after.terms != before.terms
    if changed:
        values = {"epoch": _next_epoch(before, now), "updated_at": now, **changes}
        connection.execute(update(DROP_OFFER).where(DROP_OFFER.c.code == code).values(values))
    return Put(read(connection, code), created, changed and not created)


def begin_epoch(connection: Connection, code: str, at_least: int) -> Offer:
    """Begin a new epoch: from here on nothing is journaled that a gate of an earlier one has decided.

    at_least: the number that it has, unless that has been. Returns the drop with it; raises NotFound.
    """
    epoch = _next_epoch(locked(connection, code), at_least)
    connection.execute(update(DROP_OFFER).where(DROP_OFFER.c.code == code).values(epoch=epoch))
    return read(connection, code)


def lock(connection: Connection, code: str) -> Offer | None:
    """Read a drop and hold its row until the commit; None where there is none."""
    row = _LOCK.row(connection, {"of_code": code})
    return None if row is None else Offer(*row)


def locked(connection: Connection, code: str) -> Offer:
    """The same; raises NotFound."""
    offer = lock(connection, code)
    if offer is None:
        raise unknown_drop(code)
    return offer


def find(connection: Connection, code: str) -> Offer | None:
    """Read a drop; None where there is none."""
    row = connection.execute(_READ, {"of_code": code}).one_or_none()
    return None if row is None else Offer(*row)


def read(connection: Connection, code: str) -> Offer:
    """Read a drop; raises NotFound."""
    offer = find(connection, code)
    if offer is None:
        raise unknown_drop(code)
    return offer


def page(connection: Connection, after: str, most: int) -> list[Offer]:
    """Return up to `most` drops whose code comes after the given one, in the order of their codes."""
    return [Offer(*row) for row in connection.execute(_PAGE, {"after": after, "most": most})]


def take(connection: Connection, code: str, units: int) -> None:
    """Take units of a drop whose row is locked; the table's constraint has the last word on how many."""
    taken = _TAKE.run(connection, {"of_code": code, "units": units})
    assert taken == 1, f"drop {code} is gone while its row is held"


def count_issued(connection: Connection, code: str) -> None:
    """Set what is issued of a drop to what its claims say."""
    # Its row is held before anything is counted: a statement that had to wait for the row would go on to
    # count what it saw before the wait.
    lock(connection, code)
    _COUNT_ISSUED.run(connection, {"of_code": code})


def _most_of_one_customer(connection: Connection, code: str) -> int:
    return connection.execute(_MOST_OF_ONE, {"of_code": code}).scalar() or 0


def _next_epoch(offer: Offer, at_least: int) -> int:
    # Not merely the next number: a database that was set back, or made anew, must not come by an epoch that
    # some gate has seen already.
    return max(offer.epoch + 1, at_least)


_OF_CODE: Final = DROP_OFFER.c.code == bindparam("of_code")
_READ: Final = select(DROP_OFFER).where(_OF_CODE)
_LOCK: Final = Prepared(_READ.with_for_update())
_PAGE: Final = (
    select(DROP_OFFER)
    .where(DROP_OFFER.c.code > bindparam("after"))
    .order_by(DROP_OFFER.c.code)
    .limit(bindparam("most"))
)
_TAKE: Final = Prepared(
    update(DROP_OFFER)
    .where(_OF_CODE)
    .values(taken=DROP_OFFER.c.taken + bindparam("units", type_=BigInteger()))
)
_MOST_OF_ONE: Final = select(func.max(DROP_CLAIM.c.slot)).where(
    DROP_CLAIM.c.code == bindparam("of_code"), LIVE
)
_COUNT_ISSUED: Final = Prepared(
    update(DROP_OFFER)
    .where(_OF_CODE)
    .values(
        issued=select(func.count())
        .select_from(DROP_CLAIM)
        .where(DROP_CLAIM.c.code == bindparam("of_code"), DROP_CLAIM.c.state == ClaimState.ISSUED.value)
        .scalar_subquery()
    )
)
