"""The rules of stock, pure: what is on hand, what is held of it, what is sold, and to whom.

A hold takes from what is available and leaves `on_hand` alone; a sale takes from both and counts as sold;
what is put back is available again. Whatever changes `on_hand` otherwise is a recorded adjustment, so that
`on_hand + sold` is always the sum of the adjustments.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from shared.errors import Refused

MAX_UNITS = 2**53 - 1
"""The most units that one product counts, on hand and sold together: what any JSON reader takes exactly."""

MAX_LINES = 100
"""The most lines in one claim."""


class Line(NamedTuple):
    """So many units of one product."""

    product_id: str
    qty: int


@dataclass(frozen=True, slots=True)
class Level:
    """How much of a product there is, in units. Held units are on hand, sold ones no longer."""

    on_hand: int
    held: int
    sold: int

    @property
    def available(self) -> int:
        return self.on_hand - self.held


NOTHING = Level(on_hand=0, held=0, sold=0)


@dataclass(frozen=True, slots=True)
class Shelf:
    """What decides about a hold of one product.

    purchase_limit: units per customer, None for no limit; version: rises with every change.
    """

    level: Level
    purchase_limit: int | None
    frozen: bool
    version: int


def merge(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Add up the lines of each product and sort them by product.

    Everybody who takes several products takes them in this order, so that no two wait for each other.
    """
    units: dict[str, int] = {}
    for line in lines:
        units[line.product_id] = units.get(line.product_id, 0) + line.qty
    return tuple(Line(product_id, units[product_id]) for product_id in sorted(units))


def adjusted(level: Level, delta: int) -> Level:
    """Return the level after an adjustment of the units on hand.

    Raises Refused `below-held` where less would be on hand than is held, `too-many-units` where more would be
    counted than can be.
    """
    on_hand = level.on_hand + delta
    if on_hand < level.held:
        raise Refused(
            "below-held",
            f"{level.held} units are held, so {on_hand} can't be on hand. Cancel or confirm what holds them, "
            "or take fewer away.",
            held=level.held,
            onHand=level.on_hand,
        )
    if on_hand + level.sold > MAX_UNITS:
        raise Refused("too-many-units", f"On hand and sold together may be at most {MAX_UNITS} units.")
    return Level(on_hand=on_hand, held=level.held, sold=level.sold)


def differences(level: Level, *, held: int, sold: int, adjusted: int) -> dict[str, tuple[int, int]]:
    """Return what a level counts otherwise than it should, as (is, should be) by name.

    held, sold: what reservations hold and have sold; adjusted: the sum of all adjustments.
    """
    pairs = {
        "held": (level.held, held),
        "sold": (level.sold, sold),
        "onHand": (level.on_hand, adjusted - sold),
    }
    return {name: (found, due) for name, (found, due) in pairs.items() if found != due}


def unknown_product(product_id: str) -> Refused:
    """Say that a claim names a product that isn't there."""
    return Refused("unknown-product", f"There is no product {product_id}.", status=422, productId=product_id)


def holdable(line: Line, shelf: Shelf | None) -> Shelf:
    """Return the shelf that a line can be held of; raises `refusal` where it can't."""
    if shelf is None or shelf.frozen or shelf.level.available < line.qty:
        raise refusal(line, shelf)
    return shelf


def refusal(line: Line, shelf: Shelf | None) -> Refused:
    """Say why a line can't be held, given what stands on the shelf (None: there is no such product)."""
    if shelf is None:
        return unknown_product(line.product_id)
    if shelf.frozen:
        return Refused(
            "product-frozen",
            f"Product {line.product_id} is frozen for stocktaking. Try again once it is released.",
            productId=line.product_id,
        )
    return Refused(
        "insufficient-stock",
        f"Of product {line.product_id} {shelf.level.available} units are available, not {line.qty}. "
        "Ask for fewer.",
        productId=line.product_id,
        available=shelf.level.available,
    )


def limit_reached(line: Line, limit: int, taken: int) -> Refused:
    """Say that a customer would hold and have bought more of a product than its limit allows."""
    left = max(limit - taken, 0)
    return Refused(
        "purchase-limit-reached",
        f"Of product {line.product_id} a customer may have {limit} units; {left} are left for this one, "
        f"not {line.qty}.",
        productId=line.product_id,
        purchaseLimit=limit,
        left=left,
    )
