"""A shop's year as orders, and how each of them must end: arithmetic on the files alone, no Handfast in it.

`read_orders` reads what jafgen wrote. `Plan.of` decides how much there is of everything, so that a fair share
of the orders must be refused, and goes through the orders one by one in the order of the files: whoever comes
while there is enough gets it. Three things run short: some products' stock, some products' units a customer,
and some customers' money.

Many orders are in flight at once, yet the outcome of each is exact, because `Traffic` lets an order go only
when nothing that is under way can change how it ends: what it needs is there even if everybody in flight gets
what they ask for, or is gone even if nobody else in flight gets anything.
"""

import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

STOCK: Final = "insufficient-stock"
LIMIT: Final = "purchase-limit-reached"
MONEY: Final = "payment-declined"
EMPTY: Final = "invalid-request"

SCARCE_STOCK: Final = (0.3, 0.6, 0.9)
"""What share of the demand for the first three products is on hand; of the others there is enough."""

LIMIT_SHARE: Final = 0.5
"""What share of the busiest customer's demand for the last product one customer may buy."""


class Resource(NamedTuple):
    """Something that can run short. kind: the slug of the refusal; customer: "" for stock."""

    kind: str
    product: str
    customer: str


@dataclass(frozen=True)
class Order:
    """One order of the files. items: units by product; amount: what is to be paid, in cents."""

    order_id: str
    customer: str
    items: Mapping[str, int]
    amount: int

    @property
    def body(self) -> dict[str, object]:
        """The order as the order service takes it."""
        items = [{"productId": product, "qty": qty} for product, qty in self.items.items()]
        return {
            "orderId": self.order_id,
            "customerId": self.customer,
            "items": items,
            "paymentAmt": self.amount,
        }


@dataclass(frozen=True)
class Outcome:
    """How an order must end. lacking: what runs short for it; valid: whether it is an order at all."""

    lacking: frozenset[Resource] = frozenset()
    valid: bool = True

    @property
    def confirmed(self) -> bool:
        return self.valid and not self.lacking

    @property
    def reasons(self) -> frozenset[str]:
        """The slugs of which one refuses the order; which one is first is not certain."""
        return frozenset(resource.kind for resource in self.lacking) if self.valid else frozenset({EMPTY})


@dataclass(frozen=True)
class Plan:
    """What there is, and what becomes of every order.

    capacity: by resource; names, stock: of each product, and its units on hand at first; limits: units of a
    product that a customer may buy; accounts: balances of the customers who have an account.
    """

    orders: Sequence[Order]
    outcomes: Sequence[Outcome]
    capacity: Mapping[Resource, int]
    names: Mapping[str, str]
    stock: Mapping[str, int]
    limits: Mapping[str, int]
    accounts: Mapping[str, int]

    @classmethod
    def of(cls, orders: Sequence[Order], names: Mapping[str, str]) -> "Plan":
        """Set stock, limits and balances by arithmetic, and see in sequence who gets what."""
        stock = _stock_of(orders, names)
        limits = _limits_of(orders, names)
        accounts = _accounts_of(orders)
        capacity = {Resource(STOCK, product, ""): units for product, units in stock.items()}
        for order in orders:
            capacity[Resource(MONEY, "", order.customer)] = accounts.get(order.customer, 0)
            for product in order.items.keys() & limits.keys():
                capacity[Resource(LIMIT, product, order.customer)] = limits[product]
        return cls(orders, _outcomes(orders, capacity), capacity, names, stock, limits, accounts)

    def replanned(self) -> "Plan":
        """Return the plan with its outcomes worked out anew from its capacity."""
        return replace(self, outcomes=_outcomes(self.orders, self.capacity))

    def needs(self, order: Order) -> dict[Resource, int]:
        """Return what an order takes of what can run short."""
        return _needs(order, self.capacity)

    def sold(self) -> Counter[str]:
        """Return the units of each product that must have been sold in the end."""
        sold: Counter[str] = Counter()
        for order in self.confirmed():
            sold.update(order.items)
        return sold

    def captured(self) -> Counter[str]:
        """Return the money that must have been captured from each customer in the end."""
        captured: Counter[str] = Counter()
        for order in self.confirmed():
            captured[order.customer] += order.amount
        return captured

    def confirmed(self) -> Iterable[Order]:
        return (order for order, outcome in zip(self.orders, self.outcomes, strict=True) if outcome.confirmed)


class Traffic:
    """Which order may go when, so that each ends as planned however those in flight overtake each other.

    Orders have to be asked about, and sent, in the order of the plan.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._taken: Counter[Resource] = (
            Counter()
        )  # by orders that are to be confirmed, from their sending on
        self._kept: Counter[Resource] = Counter()  # of these, by orders that are decided
        self._passing: Counter[Resource] = Counter()  # what orders to be refused may hold for a moment

    def may_go(self, order: Order, outcome: Outcome) -> bool:
        """Say whether an order's outcome is certain by now."""
        if not outcome.valid:
            return True
        capacity = self._plan.capacity
        for resource, amount in self._plan.needs(order).items():
            if resource in outcome.lacking:
                if capacity[resource] - self._kept[resource] >= amount:
                    return False
            elif capacity[resource] - self._taken[resource] - self._passing[resource] < amount:
                return False
        return True

    def sent(self, order: Order, outcome: Outcome) -> None:
        """Note that an order goes."""
        (self._taken if outcome.confirmed else self._passing).update(self._held(order, outcome))

    def settled(self, order: Order, outcome: Outcome) -> None:
        """Note that an order is decided, if it is to be confirmed, or holds nothing any more."""
        if outcome.confirmed:
            self._kept.update(self._held(order, outcome))
        else:
            self._passing.subtract(self._held(order, outcome))

    def _held(self, order: Order, outcome: Outcome) -> dict[Resource, int]:
        """Return what an order gets, or may hold until it is refused."""
        if not outcome.valid:
            return {}
        needs = self._plan.needs(order)
        return {resource: amount for resource, amount in needs.items() if resource not in outcome.lacking}


def read_orders(directory: Path, most: int | None = None) -> tuple[list[Order], dict[str, str]]:
    """Read the first orders of a directory of raw_*.csv, and the names of all products."""
    items: dict[str, Counter[str]] = {}
    for row in _rows(directory / "raw_items.csv"):
        items.setdefault(row["order_id"], Counter())[row["sku"]] += 1
    orders = [
        Order(row["id"], row["customer"], items.get(row["id"], {}), int(row["order_total"]))
        for row in itertools.islice(_rows(directory / "raw_orders.csv"), most)
    ]
    return orders, {row["sku"]: row["name"] for row in _rows(directory / "raw_products.csv")}


def _rows(path: Path) -> Iterable[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _outcomes(orders: Iterable[Order], capacity: Mapping[Resource, int]) -> list[Outcome]:
    left = dict(capacity)
    outcomes = []
    for order in orders:
        if not order.items:
            outcomes.append(Outcome(valid=False))
            continue
        needs = _needs(order, capacity)
        lacking = frozenset(resource for resource, amount in needs.items() if left[resource] < amount)
        outcomes.append(Outcome(lacking))
        if not lacking:
            for resource, amount in needs.items():
                left[resource] -= amount
    return outcomes


def _needs(order: Order, capacity: Mapping[Resource, int]) -> dict[Resource, int]:
    needs = {Resource(MONEY, "", order.customer): order.amount}
    for product, qty in order.items.items():
        needs[Resource(STOCK, product, "")] = qty
        limited = Resource(LIMIT, product, order.customer)
        if limited in capacity:
            needs[limited] = qty
    return needs


def _stock_of(orders: Iterable[Order], names: Iterable[str]) -> dict[str, int]:
    demand: Counter[str] = Counter()
    for order in orders:
        demand.update(order.items)
    products = sorted(names)
    share = dict(zip(products, SCARCE_STOCK, strict=False))
    return {product: int(demand[product] * share.get(product, 1)) for product in products}


def _limits_of(orders: Iterable[Order], names: Iterable[str]) -> dict[str, int]:
    product = max(names)
    bought: Counter[str] = Counter()
    for order in orders:
        bought[order.customer] += order.items.get(product, 0)
    return {product: max(1, int(max(bought.values(), default=0) * LIMIT_SHARE))}


def _accounts_of(orders: Iterable[Order]) -> dict[str, int]:
    """Return the balances: every 10th customer has half of what it will ask for, every 25th no account."""
    spend: Counter[str] = Counter()
    for order in orders:
        spend[order.customer] += order.amount
    return {
        customer: total // 2 if place % 10 == 3 else total
        for place, (customer, total) in enumerate(sorted(spend.items()))
        if place % 25 != 7
    }
