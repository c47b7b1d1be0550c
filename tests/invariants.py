"""What must be true of the whole system, checked over a snapshot of plain rows. Pure.

    broken(snapshot)            what must hold at any moment
    unfinished(snapshot)        what must have ended once faults are healed and nothing is under way
    unkept(snapshot, promises)  what customers were told and doesn't show

Each returns readable findings, and an empty list where all is well. A snapshot may come from anywhere (REST,
the databases, a simulator), but its rows must be of one moment: taken from a system at work, a sum may differ
from its parts because something moved in between.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from coordinator.reconciliation import ALARMS, FINDINGS, Kind, Standing
from payment_service import domain as payment
from payment_service.domain import Funds
from shared.tcc.protocol import State as Held
from stock_service import domain as stock
from stock_service.domain import Level
from tests.snapshot import Reservation, Snapshot

STOCK: Final = "stock"
PAYMENT: Final = "payment"
PARTICIPANTS: Final = ("order", STOCK, PAYMENT)
"""Who has to take part before an order is confirmed."""

OUTCOMES: Final = "tcc-outcomes"
"""The one topic that carries no Confirms."""

FINAL: Final = frozenset({"CONFIRMED", "CANCELLED"})
KEEPING: Final = frozenset({"CONFIRMING", "CONFIRMED"})
LETTING_GO: Final = frozenset({"CANCELLING", "CANCELLED", "REFUSED"})
HOLDING: Final = frozenset({"TRIED", "CONFIRMING"})
BOOKED: Final = HOLDING | {"TRYING", "CANCELLING"}
"""Before an external effect is certain, or undone, the books hold what it is about."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be. invariant: the name of the check that found it."""

    invariant: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"[{self.invariant}] {self.subject}: {self.detail}"


class Promise(StrEnum):
    """What a customer was told about an order."""

    TAKEN = "taken"  # it is there, and will be CONFIRMED or CANCELLED
    KEPT = "kept"  # it will be CONFIRMED
    GONE = "gone"  # it will be CANCELLED


def broken(snapshot: Snapshot) -> list[Finding]:
    """Return where an invariant is broken that holds at any moment."""
    return _gather(ALWAYS, snapshot)


def unfinished(snapshot: Snapshot) -> list[Finding]:
    """Return what is left over where nothing is under way any more."""
    return _gather(AT_REST, snapshot)


def unkept(snapshot: Snapshot, promises: Mapping[str, Promise]) -> list[Finding]:
    """Return the orders that aren't as their customers were told, and those that nobody placed."""
    findings = []
    orders = {order.order_id: order for order in snapshot.orders}
    for order_id, promise in promises.items():
        order = orders.pop(order_id, None)
        if order is None:
            findings.append(Finding("accepted orders are final", f"order {order_id}", "it is gone"))
        elif order.status not in _MEANT[promise]:
            what = f"its customer was told {promise.value!r}, and it is {order.status}"
            findings.append(Finding("accepted orders are final", f"order {order_id}", what))
    strangers = (f"order {order_id}" for order_id in orders)
    return findings + [Finding("one order for one wish", name, "nobody placed it") for name in strangers]


Check = Callable[[Snapshot], Iterator[tuple[str, str]]]


def no_mixed_outcome(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """A transaction, its branches, its reservations and its order all go the same way."""
    orders = {order.transaction_id: order for order in snapshot.orders}
    reservations = _by_transaction(snapshot)
    for one in snapshot.transactions:
        counting = {branch.branch_id: branch for branch in one.branches if branch.state != "CLOSED"}
        states = [("transaction", one.state)]
        states += [(f"branch {branch.participant}", branch.state) for branch in counting.values()]
        states += [
            (f"reservation {held.participant}", held.state)
            for held in reservations[one.transaction_id]
            if held.reservation_id in counting or held.state in KEEPING
        ]
        if one.transaction_id in orders:
            states.append(("order", orders[one.transaction_id].status))
        if _mixed(state for _, state in states):
            detail = ", ".join(f"{what} is {state}" for what, state in states)
            yield f"transaction {one.transaction_id}", detail


def decision_never_changes(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    for one in snapshot.transactions:
        if _mixed(one.history):
            yield f"transaction {one.transaction_id}", " -> ".join(one.history)
        elif one.history and one.history[-1] != one.state:
            yield f"transaction {one.transaction_id}", f"it is {one.state} after {' -> '.join(one.history)}"


def confirmed_implies_tried(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Whatever is to be confirmed is held, or was, at every participant that counts."""
    for one in snapshot.transactions:
        if one.state in KEEPING and all(branch.state == "CLOSED" for branch in one.branches):
            yield f"transaction {one.transaction_id}", f"{one.state} without a branch"
    for stands, kind, subject, detail in _judged(snapshot):
        if stands.value in KEEPING and kind in ALARMS:
            yield subject, detail


def reservations_have_owners(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Every coordinated reservation is a branch of a transaction; one that isn't holds nothing."""
    for stands, _, subject, detail in _judged(snapshot):
        if stands in (Standing.UNKNOWN, Standing.STRANGE):
            yield subject, detail


def both_sides_agree(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """A reconciliation has nothing to find about any branch."""
    for _, _, subject, detail in _judged(snapshot):
        yield subject, detail


def _judged(snapshot: Snapshot) -> Iterator[tuple[Standing, Kind, str, str]]:
    """Yield what the reconciliation's table finds about branches and coordinated reservations."""
    transactions = {one.transaction_id: one for one in snapshot.transactions}
    branches = {
        (one.transaction_id, each.branch_id): each for one in snapshot.transactions for each in one.branches
    }
    held = {(one.transaction_id, one.reservation_id): one for one in snapshot.reservations}
    for transaction_id, branch_id in sorted(
        branches.keys() | {(owner, name) for owner, name in held if owner is not None}
    ):
        branch, reservation = branches.get((transaction_id, branch_id)), held.get((transaction_id, branch_id))
        state = Held.ABSENT if reservation is None else Held(reservation.state)
        if branch is not None:
            stands = Standing(branch.state)
        elif transaction_id in transactions:
            stands = Standing.STRANGE if transactions[transaction_id].branches else Standing.CANCELLED
        else:
            stands = Standing.UNKNOWN
        kind = FINDINGS[stands, state]
        if kind is not None:
            detail = f"{kind}: the coordinator has it {stands}, its participant {state}"
            yield stands, kind, f"branch {branch_id} of transaction {transaction_id}", detail


def orders_have_transactions(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """An order that is decided or final is what its transaction says."""
    states = {one.transaction_id: one.state for one in snapshot.transactions}
    for order in snapshot.orders:
        state = states.get(order.transaction_id, "unknown")
        if order.status in FINAL and state != order.status and state not in _BEFORE[order.status]:
            yield f"order {order.order_id}", f"{order.status}, and its transaction is {state}"


def one_effect_for_each_order(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """A confirmed order has one confirmed reservation at each participant, with its claim; none has more."""
    reservations = _by_transaction(snapshot)
    for order in snapshot.orders:
        kept = [one for one in reservations[order.transaction_id] if one.state == "CONFIRMED"]
        name, count = f"order {order.order_id}", Counter(one.participant for one in kept)
        for participant in PARTICIPANTS:
            if count[participant] > 1:
                yield name, f"it has {count[participant]} confirmed reservations at {participant}"
            if count[participant] == 0 and order.status == "CONFIRMED":
                yield name, f"CONFIRMED without a confirmed reservation at {participant}"
        for one in kept:
            if one.participant == STOCK and dict(one.items) != dict(order.items):
                yield name, f"{dict(order.items)} were ordered, and {dict(one.items)} sold"
            if one.participant == PAYMENT and one.amount != order.amount:
                yield name, f"{order.amount} was to be paid, and {one.amount} captured"


def stock_adds_up(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """onHand + sold is what was adjusted; held and sold are what reservations say; nothing is negative."""
    held, sold = _units(snapshot, BOOKED), _units(snapshot, frozenset({"CONFIRMED"}))
    for one in snapshot.products:
        level = Level(one.on_hand, one.held, one.sold)
        yield from _levels(
            f"product {one.product_id}",
            {"onHand": one.on_hand, "held": one.held, "available": one.available, "sold": one.sold},
            {
                "available": (one.available, level.available),
                **stock.differences(
                    level, held=held[one.product_id], sold=sold[one.product_id], adjusted=one.adjusted
                ),
            },
        )
    strangers = (held.keys() | sold.keys()) - {one.product_id for one in snapshot.products}
    yield from ((f"product {name}", "it is reserved, and is not there") for name in strangers)


def money_is_conserved(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """balance + captured - refunded is what was paid in; held and captured are what the reservations say."""
    held, captured = _money(snapshot, BOOKED), _money(snapshot, frozenset({"CONFIRMED"}))
    for one in snapshot.accounts:
        funds = Funds(one.balance, one.held, one.captured, one.refunded)
        yield from _levels(
            f"account {one.customer_id}",
            {
                "balance": one.balance,
                "held": one.held,
                "available": one.available,
                "captured": one.captured,
                "refunded": one.refunded,
                "captured - refunded": one.captured - one.refunded,
            },
            {
                "available": (one.available, funds.available),
                **payment.differences(
                    funds,
                    held=held[one.customer_id],
                    captured=captured[one.customer_id],
                    refunded=one.refunded,
                    deposited=one.deposited,
                ),
            },
        )
    strangers = (held.keys() | captured.keys()) - {one.customer_id for one in snapshot.accounts}
    yield from ((f"account {name}", "money of it is reserved, and it is not there") for name in strangers)


def limits_are_kept(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """No customer holds and has bought more of a product than its limit (as long as nobody lowered it)."""
    limits = {one.product_id: one.purchase_limit for one in snapshot.products}
    taken: Counter[tuple[str, str]] = Counter()
    for one in snapshot.reservations:
        if one.participant == STOCK and one.state in HOLDING | KEEPING:
            taken.update({(product, one.customer_id): qty for product, qty in one.items.items()})
    for (product, customer), units in taken.items():
        limit = limits.get(product)
        if limit is not None and units > limit:
            yield f"product {product}", f"{customer} has {units} units, and the limit is {limit}"


def confirm_letters_belong(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """A dead-lettered Confirm belongs to a transaction or standalone reservation that is not cancelled."""
    owners: dict[str, str] = {one.transaction_id: one.state for one in snapshot.transactions}
    alone = {one.reservation_id: one.state for one in snapshot.reservations if one.transaction_id is None}
    for letter in snapshot.letters:
        if letter.topic == OUTCOMES or letter.branch_id is None:
            continue  # A record that can't be decoded confirms nothing.
        if letter.transaction_id is not None:
            state = owners.get(letter.transaction_id)
        else:
            state = alone.get(letter.branch_id)
        if state is None or state in LETTING_GO:
            owner = letter.transaction_id or letter.branch_id
            yield f"letter {letter.letter_id} of {letter.topic}", f"it confirms {owner}, which is {state}"


def orders_are_final(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    for one in snapshot.orders:
        if one.status not in FINAL:
            yield f"order {one.order_id}", f"still {one.status}"


def transactions_are_final(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    for one in snapshot.transactions:
        if one.state not in FINAL:
            yield f"transaction {one.transaction_id}", f"still {one.state}"


def no_reservation_dangles(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    for one in snapshot.reservations:
        if one.state not in FINAL:
            yield _name(one), f"still {one.state}"


def nothing_is_held(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    for product in snapshot.products:
        if product.held:
            yield f"product {product.product_id}", f"{product.held} units are still held"
    for account in snapshot.accounts:
        if account.held:
            yield f"account {account.customer_id}", f"{account.held} is still held"


def letters_are_settled(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    for one in snapshot.letters:
        if one.state not in ("SETTLED", "EDITED"):
            yield f"letter {one.letter_id} of {one.topic}", f"still {one.state} at {one.program}"


ALWAYS: Final[tuple[Check, ...]] = (
    no_mixed_outcome,
    decision_never_changes,
    confirmed_implies_tried,
    reservations_have_owners,
    orders_have_transactions,
    one_effect_for_each_order,
    stock_adds_up,
    money_is_conserved,
    limits_are_kept,
    confirm_letters_belong,
)
AT_REST: Final[tuple[Check, ...]] = (
    orders_are_final,
    transactions_are_final,
    no_reservation_dangles,
    both_sides_agree,
    nothing_is_held,
    letters_are_settled,
)
_MEANT: Final = {
    Promise.TAKEN: FINAL,
    Promise.KEPT: frozenset({"CONFIRMED"}),
    Promise.GONE: frozenset({"CANCELLED"}),
}
_BEFORE: Final = {"CONFIRMED": frozenset({"CONFIRMING"}), "CANCELLED": frozenset({"CANCELLING"})}
"""An order learns first what its transaction learns last: that its own branch is settled."""


def _gather(checks: Iterable[Check], snapshot: Snapshot) -> list[Finding]:
    return [
        Finding(check.__name__.replace("_", " "), subject, detail)
        for check in checks
        for subject, detail in check(snapshot)
    ]


def _mixed(states: Iterable[str]) -> bool:
    seen = set(states)
    return bool(seen & KEEPING) and bool(seen & LETTING_GO)


def _by_transaction(snapshot: Snapshot) -> defaultdict[str, list[Reservation]]:
    found: defaultdict[str, list[Reservation]] = defaultdict(list)
    for one in snapshot.reservations:
        if one.transaction_id is not None:
            found[one.transaction_id].append(one)
    return found


def _units(snapshot: Snapshot, states: frozenset[str]) -> Counter[str]:
    units: Counter[str] = Counter()
    for one in snapshot.reservations:
        if one.participant == STOCK and one.state in states:
            units.update(one.items)
    return units


def _money(snapshot: Snapshot, states: frozenset[str]) -> Counter[str]:
    money: Counter[str] = Counter()
    for one in snapshot.reservations:
        if one.participant == PAYMENT and one.state in states:
            money[one.customer_id] += one.amount
    return money


def _levels(
    name: str, levels: Mapping[str, int], pairs: Mapping[str, tuple[int, int]]
) -> Iterator[tuple[str, str]]:
    """Yield levels that are negative, and those that are otherwise than they should be: (is, should be)."""
    for what, level in levels.items():
        if level < 0:
            yield name, f"{what} is {level}"
    for what, (found, due) in pairs.items():
        if found != due:
            yield name, f"{what} is {found}, and should be {due}"


def _name(held: Reservation) -> str:
    return f"reservation {held.reservation_id} at {held.participant}"
