"""The rules of drops, pure: so many units, so many for each customer, from one instant to another.

A claim takes a unit when it is made, and keeps it while it is PENDING and once it is ISSUED; when it is
RETURNED, the unit is free again.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.clock import Millis, iso
from shared.errors import NotFound, Refused

MOST_PER_CUSTOMER: Final = 100
"""The most units of one drop that one customer may be allowed."""


class ClaimState(StrEnum):
    PENDING = "PENDING"  # journaled, not yet issued -> ISSUED, RETURNED
    ISSUED = "ISSUED"  # for good
    RETURNED = "RETURNED"  # could not be issued, the unit is given back -> PENDING (issued again)


class ReturnReason(StrEnum):
    """Why a claim was returned."""

    DEAD_LETTERED = "dead-lettered"
    UNPUBLISHABLE = "unpublishable"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a drop offers. per_customer: units; opens_at, closes_at: None for no bound, the end is outside."""

    quantity: int
    per_customer: int
    opens_at: Millis | None
    closes_at: Millis | None


def check_terms(code: str, terms: Terms, *, taken: int, most_of_one_customer: int) -> None:
    """Refuse terms that contradict themselves, or what is claimed already.

    taken: units issued and pending; most_of_one_customer: of those, the most that one customer has. Raises
    Refused `invalid-request` (422) or `below-claimed`.
    """
    if terms.opens_at is not None and terms.closes_at is not None and terms.closes_at <= terms.opens_at:
        detail = "closesAt must be later than opensAt; null means no bound."
        raise Refused("invalid-request", detail, 422, errors=[{"field": "closesAt", "detail": detail}])
    if terms.quantity < taken:
        raise Refused(
            "below-claimed",
            f"{taken} units of drop {code} are issued or pending, so its quantity can't be {terms.quantity}. "
            f"Set it to {taken} or more.",
            claimed=taken,
        )
    if terms.per_customer < most_of_one_customer:
        raise Refused(
            "below-claimed",
            f"A customer has {most_of_one_customer} units of drop {code}, so perCustomer can't be "
            f"{terms.per_customer}.",
            claimed=most_of_one_customer,
        )


def closed(code: str, terms: Terms, now: Millis) -> Refused | None:
    """Say why nothing can be claimed now; None: it can, as far as time goes."""
    if terms.opens_at is not None and now < terms.opens_at:
        opens_at = iso(terms.opens_at)
        return Refused(
            "not-open", f"Drop {code} opens at {opens_at}. Come again then.", 403, opensAt=opens_at
        )
    if terms.closes_at is not None and now >= terms.closes_at:
        closes_at = iso(terms.closes_at)
        return Refused("not-open", f"Drop {code} closed at {closes_at}.", 403, closesAt=closes_at)
    return None


def free_slot(held: list[int], per_customer: int) -> int | None:
    """Return the lowest of a customer's places (1, 2, ...) that no claim holds; None: all are held."""
    return next((slot for slot in range(1, per_customer + 1) if slot not in held), None)


def sold_out(code: str) -> Refused:
    return Refused(
        "sold-out",
        f"Every unit of drop {code} is claimed. A unit that can't be issued is given back, so asking again "
        "may help.",
    )


def already_claimed(code: str, customer_id: str, per_customer: int) -> Refused:
    return Refused(
        "already-claimed",
        f"Customer {customer_id} has claimed all of drop {code} that one customer may: {per_customer}. "
        f"Read /api/v1/drops/{code}/claims/{customer_id}.",
    )


def unknown_drop(code: str) -> NotFound:
    return NotFound(f"There is no drop {code}.", "unknown-drop")
