"""What an order is and how it moves. Pure: no framework, no database, no network.

    Draft                     what a customer asked for, in one canonical form
    Status, EDGES             the states of an order and every edge between them; an order never goes back
    draft, place, discard     the three things that can happen to an order, as its participant's rules see it
    refusal_of, refusal_for   a participant's problem (or its bare reason) as the customer's problem
    paying, calling_off       what a customer may do with an order that is held

An order of the amount 0 is allowed: its payment claims 0, which any existing account can bear.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import pydantic_core

from shared.errors import Conflict, Refused

PROBLEM_PREFIX: Final = "urn:handfast:problem:"


class Status(StrEnum):
    """How far an order got. CONFIRMED and CANCELLED mean that every participant is settled."""

    PENDING = "PENDING"  # written down; whether it will be kept is not known yet
    HELD = "HELD"  # its goods are held until it expires; the customer may pay for it
    CONFIRMING = "CONFIRMING"  # decided: it will be kept
    CANCELLING = "CANCELLING"  # decided: it will not be kept
    CONFIRMED = "CONFIRMED"
    CANCELLED = "CANCELLED"


EDGES: Final[Mapping[Status, frozenset[Status]]] = {
    # A participant's word may overtake the answer that the front door waits for, so that the steps between
    # may be left out; none is ever taken back.
    Status.PENDING: frozenset(
        {Status.HELD, Status.CONFIRMING, Status.CANCELLING, Status.CONFIRMED, Status.CANCELLED}
    ),
    Status.HELD: frozenset({Status.CONFIRMING, Status.CANCELLING, Status.CONFIRMED, Status.CANCELLED}),
    Status.CONFIRMING: frozenset({Status.CONFIRMED}),
    Status.CANCELLING: frozenset({Status.CANCELLED}),
    Status.CONFIRMED: frozenset(),
    Status.CANCELLED: frozenset(),
}

FINAL: Final = frozenset({Status.CONFIRMED, Status.CANCELLED})
KEPT: Final = frozenset({Status.CONFIRMING, Status.CONFIRMED})
LET_GO: Final = frozenset({Status.CANCELLING, Status.CANCELLED})


def sources(target: Status) -> tuple[Status, ...]:
    """Return the states from which an order may move to target, in the order of the enum."""
    return tuple(status for status in Status if target in EDGES[status])


REFUSALS: Final[Mapping[str, int]] = {
    "payment-declined": 402,
    "insufficient-stock": 409,
    "purchase-limit-reached": 409,
    "product-frozen": 409,
    "unknown-product": 422,
}
"""The participants' refusals that a customer is told as they are, with the status of each."""

TRANSACTION_EXPIRED: Final = "transaction-expired"
"""The coordinator's reason for what ran out of time."""
RESERVATION_EXPIRED: Final = "reservation-expired"
CUSTOMER_CANCELLED: Final = "cancelled-by-customer"
UNKNOWN_REASON: Final = "transaction-unknown"

MAX_DETAIL: Final = 500
MAX_MEMBERS: Final = 10


@dataclass(frozen=True, slots=True)
class Line:
    """So many units of one product."""

    product_id: str
    qty: int


@dataclass(frozen=True, slots=True)
class Draft:
    """What a customer asks for. lines: each product once; payment_amt: minor units; hold_seconds: None to
    buy at once."""

    customer_id: str
    lines: tuple[Line, ...]
    payment_amt: int
    hold_seconds: int | None = None

    @property
    def body_hash(self) -> str:
        """Return a digest that is equal for equal wishes, however they were spelled."""
        lines = sorted([line.product_id, line.qty] for line in self.lines)
        wish = [self.customer_id, lines, self.payment_amt, self.hold_seconds]
        return hashlib.sha256(pydantic_core.to_json(wish)).hexdigest()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an order is not kept, as its customer is told. members: further members of the problem."""

    slug: str
    status: int
    detail: str
    reason: str
    members: Mapping[str, Any] = field(default_factory=dict)

    def error(self, order_id: str) -> Refused:
        """Return the problem to answer with: the same one every time."""
        extra = {**self.members, "orderId": order_id, "reason": self.reason}
        return Refused(self.slug, self.detail, self.status, **extra)


def merged(lines: list[Line]) -> tuple[Line, ...]:
    """Add up the quantities of a product that is named more than once, in the order of first mention."""
    quantities: dict[str, int] = {}
    for line in lines:
        quantities[line.product_id] = quantities.get(line.product_id, 0) + line.qty
    return tuple(Line(product_id, qty) for product_id, qty in quantities.items())


def draft(order_id: str, known: tuple[str, Status] | None) -> None:
    """Try: take part in a transaction for an order that is written down.

    known: id and status of the order that belongs to the transaction. Raises Refused where there is none, or
    where it is CANCELLED. One that is CANCELLING takes part, because its Cancel is still to come: refused, it
    would get none.
    """
    if known is None or known[0] != order_id:
        raise Refused(
            "unknown-order",
            f"No order {order_id} waits for this transaction; place it with POST /api/v1/orders.",
            422,
        )
    if known[1] is Status.CANCELLED:
        raise Refused("order-cancelled", f"Order {order_id} is CANCELLED; place it under a new id.")


def place(status: Status) -> bool:
    """Confirm: return whether the order has to move to CONFIRMED; raise Conflict where it was let go."""
    if status in LET_GO:
        raise Conflict("order-cancelled", f"The order is {status}: it can't be placed any more.")
    return status is not Status.CONFIRMED


def discard(status: Status) -> bool:
    """Cancel: return whether the order has to move to CANCELLED; raise Conflict where it is kept."""
    if status in KEPT:
        raise Conflict("order-confirmed", f"The order is {status}: it can't be discarded any more.")
    return status is not Status.CANCELLED


def cancel_reason(given: str | None, *, held: bool) -> str:
    """Return an order's reason from the one that came with a Cancel. held: it was a `hold` order."""
    if given == TRANSACTION_EXPIRED and held:
        return RESERVATION_EXPIRED
    return given or UNKNOWN_REASON


def refusal_of(problem: Mapping[str, Any], *, held: bool = False) -> Refusal:
    """Turn a problem document into what the customer is told.

    Problems that the API declares pass with their detail and their scalar members; anything else becomes
    409 `order-cancelled` with the slug as its reason, because the order is finally gone all the same.
    """
    slug = str(problem.get("type", "")).removeprefix(PROBLEM_PREFIX)
    reason = cancel_reason(slug, held=held)
    detail = str(problem.get("detail") or "")[:MAX_DETAIL]
    if slug in REFUSALS:
        members = {
            name: value
            for name, value in problem.items()
            if name not in _DOCUMENT and isinstance(value, str | int) and len(str(value)) <= MAX_DETAIL
        }
        members = dict(list(members.items())[:MAX_MEMBERS])
        return Refusal(slug, REFUSALS[slug], detail or f"The order was refused: {slug}.", reason, members)
    return refusal_for(reason, detail)


def refusal_for(reason: str, detail: str = "") -> Refusal:
    """Return the refusal of an order of which only the reason was kept."""
    if reason in REFUSALS:
        return Refusal(reason, REFUSALS[reason], detail or f"The order was refused: {reason}.", reason)
    detail = f"The order was cancelled ({reason}). {detail}".strip()
    return Refusal("order-cancelled", 409, f"{detail} Order again under a new order id.", reason)


def payment_refusal(problem: Mapping[str, Any]) -> Refusal:
    """Turn the problem with which a held order's payment was refused into what the customer is told: 402."""
    refusal = refusal_of(problem)
    if refusal.status == 402:
        return refusal
    detail = f"The payment was refused ({refusal.reason}). {problem.get('detail') or ''}".strip()
    return Refusal("payment-declined", 402, detail[:MAX_DETAIL], refusal.reason)


def paying(order_id: str, status: Status, reason: str | None) -> bool:
    """Return whether the order has yet to be paid for (True) or is kept already (False).

    Raises Refused: 410 `reservation-expired`, 409 `order-cancelled`, 409 `order-not-held`.
    """
    if status is Status.HELD:
        return True
    if status in KEPT:
        return False
    if status is Status.PENDING:
        raise _not_held(order_id)
    raise gone(order_id, reason)


def calling_off(order_id: str, status: Status) -> bool:
    """Return whether the order has yet to be called off (True) or is let go already (False).

    Raises Refused: 409 `order-confirmed`, 409 `order-not-held`.
    """
    if status is Status.HELD:
        return True
    if status in LET_GO:
        return False
    if status is Status.PENDING:
        raise _not_held(order_id)
    raise Refused(
        "order-confirmed", f"Order {order_id} is {status}; refund its payment instead of cancelling it."
    )


def gone(order_id: str, reason: str | None) -> Refused:
    """Return the problem of who wants to pay for an order that is let go."""
    if reason == RESERVATION_EXPIRED:
        return Refused(RESERVATION_EXPIRED, f"The hold of order {order_id} expired; order again.", 410)
    told = f" ({reason})" if reason else ""
    return Refused("order-cancelled", f"Order {order_id} was cancelled{told}; order again.", reason=reason)


def _not_held(order_id: str) -> Refused:
    return Refused(
        "order-not-held",
        f"Order {order_id} is PENDING and not held; ask again with GET until its outcome is certain.",
    )


_DOCUMENT: Final = frozenset({"type", "title", "status", "detail", "instance", "reason", "orderId"})
