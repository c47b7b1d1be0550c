"""What the stock service checks in its own database: products and purchases against their reservations.

`held` and `sold` follow from the reservations, so they are counted again where they differ. What is on hand
follows from nothing: where it isn't what was adjusted less what was sold, a person has to count the shelf.
A limit is kept by a condition on a purchase's counters; where a wrong counter let more through than the
limit allows, that is said, too.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, case, literal, or_, select, true, update

from shared.clock import Clock, Millis
from shared.database.documents import elements_of, text_of, whole_of
from shared.database.port import Database
from shared.tcc.audit import Auditor, Discrepancy, Ledger, LedgerAudit, Verdict, evidence_of
from shared.tcc.fence import RESERVATION, is_confirmed, is_holding
from shared.tcc.sums import Sums
from stock_service.domain import Level, differences
from stock_service.tables import ADJUSTMENT, PRODUCT, PURCHASE, SOLD_EARLIER


class ProductSums(NamedTuple):
    """A product's counters, and what its rows add up to. known: 0 where there is no such product."""

    product_id: str
    known: int
    on_hand: int
    held: int
    sold: int
    held_sum: int
    sold_sum: int
    adjusted: int


class PurchaseSums(NamedTuple):
    """What a customer's counters of a product say, and what the reservations add up to."""

    product_id: str
    customer_id: str
    known: int
    held: int
    sold: int
    held_sum: int
    sold_sum: int
    purchase_limit: int | None


def auditors(database: Database, clock: Clock) -> list[Auditor]:
    """Return the checks of the stock service's own tables."""
    return [LedgerAudit(_PRODUCTS, database, clock), LedgerAudit(_PURCHASES, database, clock)]


def _products(connection: Connection, after: str, most: int) -> Sequence[ProductSums]:
    return [ProductSums(*row) for row in _PRODUCT_SUMS.differing(connection, after, most)]


def _judge_product(one: ProductSums) -> list[Discrepancy]:
    subject, place = f"product {one.product_id}", one.product_id
    if not one.known:
        sums = {"held": one.held_sum, "sold": one.sold_sum, "adjusted": one.adjusted}
        return [Discrepancy("product-missing", subject, Verdict.PERSON, place, sums)]
    level = Level(one.on_hand, one.held, one.sold)
    wrong = differences(level, held=one.held_sum, sold=one.sold_sum, adjusted=one.adjusted)
    on_hand = wrong.pop("onHand", None)
    found = []
    if wrong:
        verdict = Verdict.REPAIRABLE if _can_be_held(one) else Verdict.PERSON
        found.append(Discrepancy("counter-differs", subject, verdict, place, evidence_of(wrong)))
    if on_hand is not None:
        evidence = {**evidence_of({"onHand": on_hand}), "adjusted": one.adjusted, "sold": one.sold_sum}
        found.append(Discrepancy("on-hand-differs", subject, Verdict.PERSON, place, evidence))
    return found


def _can_be_held(one: ProductSums) -> bool:
    """Say whether what reservations hold is there; where it isn't, no count of them makes it right."""
    return one.held_sum <= one.on_hand


def _lock(connection: Connection, rows: Sequence[ProductSums | PurchaseSums]) -> None:
    # A purchase's counters change only while its product is locked, so this holds them, too.
    wanted = sorted({row.product_id for row in rows})
    statement = select(PRODUCT.c.product_id).where(PRODUCT.c.product_id.in_(wanted))
    connection.execute(statement.order_by(PRODUCT.c.product_id).with_for_update())


def _recount_product(connection: Connection, one: ProductSums, now: Millis) -> bool:
    if not one.known or not _can_be_held(one):
        return False
    counted = {"held": one.held_sum, "sold": one.sold_sum}
    changed = {**counted, "version": PRODUCT.c.version + 1, "updated_at": now}
    statement = update(PRODUCT).where(PRODUCT.c.product_id == one.product_id)
    return connection.execute(statement.values(changed)).rowcount == 1


def _purchases(connection: Connection, after: str, most: int) -> Sequence[PurchaseSums]:
    found = _PURCHASE_SUMS.differing(connection, after, most)
    products = sorted({row[0] for row in found})
    statement = select(PRODUCT.c.product_id, PRODUCT.c.purchase_limit)
    known = connection.execute(statement.where(PRODUCT.c.product_id.in_(products)))
    limits: dict[str, int | None] = {row.product_id: row.purchase_limit for row in known}
    return [PurchaseSums._make([*row, limits.get(row[0])]) for row in found]


def _judge_purchase(one: PurchaseSums) -> list[Discrepancy]:
    subject = f"product {one.product_id}, customer {one.customer_id}"
    place = f"{one.product_id} {one.customer_id}"
    wrong = {"held": (one.held, one.held_sum), "sold": (one.sold, one.sold_sum)}
    evidence = evidence_of({name: pair for name, pair in wrong.items() if pair[0] != pair[1]})
    found = [Discrepancy("counter-differs", subject, Verdict.REPAIRABLE, place, evidence)]
    taken = one.held_sum + one.sold_sum
    if one.purchase_limit is not None and taken > one.purchase_limit:
        beyond = {"taken": taken, "purchaseLimit": one.purchase_limit}
        found.append(Discrepancy("limit-exceeded", subject, Verdict.PERSON, place, beyond))
    return found


def _recount_purchase(connection: Connection, one: PurchaseSums, _now: Millis) -> bool:
    counted = {"held": one.held_sum, "sold": one.sold_sum}
    if one.known:
        of_one = (PURCHASE.c.product_id == one.product_id, PURCHASE.c.customer_id == one.customer_id)
        return connection.execute(update(PURCHASE).where(*of_one).values(counted)).rowcount == 1
    row = {"product_id": one.product_id, "customer_id": one.customer_id, **counted}
    return connection.execute(PURCHASE.insert().values(row)).rowcount == 1


def _reserved() -> Select[Any]:
    """Select what each item of each reservation holds and has sold."""
    item = elements_of(RESERVATION.c.claim, "items")
    qty = whole_of(item.c.value, "qty")
    return (
        select(
            text_of(item.c.value, "productId").label("product_id"),
            text_of(RESERVATION.c.claim, "customerId").label("customer_id"),
            case((is_holding(), qty), else_=0).label("held_sum"),
            case((is_confirmed(), qty), else_=0).label("sold_sum"),
        )
        .select_from(RESERVATION.join(item, true()))
        .where(or_(is_holding(), is_confirmed()))
    )


_KNOWN: Final = literal(1).label("known")
_SOLD_EARLIER: Final = select(
    SOLD_EARLIER.c.product_id, SOLD_EARLIER.c.customer_id, SOLD_EARLIER.c.sold.label("sold_sum")
)
_PRODUCT_SUMS: Final = Sums(
    ("product_id",),
    ProductSums._fields[1:],
    [
        select(PRODUCT.c.product_id, _KNOWN, PRODUCT.c.on_hand, PRODUCT.c.held, PRODUCT.c.sold),
        select(ADJUSTMENT.c.product_id, ADJUSTMENT.c.delta.label("adjusted")),
        _reserved(),
        _SOLD_EARLIER,
    ],
    lambda of: or_(
        of["known"] == 0,
        of["held"] != of["held_sum"],
        of["sold"] != of["sold_sum"],
        of["on_hand"] + of["sold_sum"] != of["adjusted"],
    ),
)
_PURCHASE_SUMS: Final = Sums(
    ("product_id", "customer_id"),
    PurchaseSums._fields[2:-1],
    [
        select(PURCHASE.c.product_id, PURCHASE.c.customer_id, _KNOWN, PURCHASE.c.held, PURCHASE.c.sold),
        _reserved(),
        _SOLD_EARLIER,
    ],
    lambda of: or_(of["held"] != of["held_sum"], of["sold"] != of["sold_sum"]),
)
_PRODUCTS: Final = Ledger("products", _products, _judge_product, _lock, _recount_product)
_PURCHASES: Final = Ledger("purchases", _purchases, _judge_purchase, _lock, _recount_purchase)
