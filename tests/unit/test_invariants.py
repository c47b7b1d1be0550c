"""The net must catch what it is there for: every invariant is broken on purpose, and found."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.invariants import ALWAYS, AT_REST, Promise, broken, unfinished, unkept
from tests.snapshot import Account, Branch, Letter, Order, Product, Reservation, Snapshot, Transaction

TRADE = {"p": 2}


def branches(number: int, state: str) -> tuple[Branch, ...]:
    return tuple(Branch(f"{name}-{number}", name, state) for name in ("order", "stock", "payment"))


def reservations(number: int, state: str) -> tuple[Reservation, ...]:
    return (
        Reservation("order", f"order-{number}", state, f"t{number}"),
        Reservation("stock", f"stock-{number}", state, f"t{number}", "ann", items=TRADE),
        Reservation("payment", f"payment-{number}", state, f"t{number}", "ann", amount=50),
    )


def sound() -> Snapshot:
    """Return a shop in which one order was confirmed, another refused, and all adds up."""
    return Snapshot(
        orders=(
            Order("o1", "t1", "ann", TRADE, 50, "CONFIRMED"),
            Order("o2", "t2", "ann", TRADE, 50, "CANCELLED"),
        ),
        transactions=(
            Transaction("t1", "CONFIRMED", branches(1, "CONFIRMED"), ("TRYING", "CONFIRMING", "CONFIRMED")),
            Transaction("t2", "CANCELLED", branches(2, "CANCELLED"), ("TRYING", "CANCELLING", "CANCELLED")),
        ),
        reservations=(
            *reservations(1, "CONFIRMED"),
            *reservations(2, "CANCELLED"),
            Reservation("stock", "alone", "CONFIRMED", None, "bob", items={"p": 1}),
        ),
        products=(Product("p", on_hand=7, held=0, available=7, sold=3, adjusted=10, purchase_limit=2),),
        accounts=(Account("ann", balance=60, held=0, available=60, captured=50, refunded=10, deposited=100),),
        letters=(Letter("l1", "stock", "stock-adjustment", "SETTLED", "stock-1", "t1"),),
    )


def put(rows: tuple[Any, ...], place: int, **changes: Any) -> tuple[Any, ...]:
    return (*rows[:place], replace(rows[place], **changes), *rows[place + 1 :])


def order(one: Snapshot, place: int, **changes: Any) -> Snapshot:
    return replace(one, orders=put(one.orders, place, **changes))


def transaction(one: Snapshot, place: int, **changes: Any) -> Snapshot:
    return replace(one, transactions=put(one.transactions, place, **changes))


def reservation(one: Snapshot, place: int, **changes: Any) -> Snapshot:
    return replace(one, reservations=put(one.reservations, place, **changes))


def product(one: Snapshot, **changes: Any) -> Snapshot:
    return replace(one, products=put(one.products, 0, **changes))


def account(one: Snapshot, **changes: Any) -> Snapshot:
    return replace(one, accounts=put(one.accounts, 0, **changes))


def letter(one: Snapshot, **changes: Any) -> Snapshot:
    return replace(one, letters=put(one.letters, 0, **changes))


def with_reservation(one: Snapshot, held: Reservation) -> Snapshot:
    return replace(one, reservations=(*one.reservations, held))


STANDALONE = Reservation("stock", "more", "CONFIRMED", None, "bob", items={"p": 1})
SECOND = Reservation("payment", "payment-1b", "CONFIRMED", "t1", "ann", amount=50)

PLANTED: Mapping[str, tuple[str, Callable[[Snapshot], Snapshot]]] = {
    "one participant let go of what was confirmed": (
        "no mixed outcome",
        lambda one: reservation(one, 2, state="CANCELLED"),
    ),
    "one participant kept what was cancelled": (
        "no mixed outcome",
        lambda one: reservation(one, 4, state="CONFIRMED"),
    ),
    "a branch is settled against the decision": (
        "no mixed outcome",
        lambda one: transaction(
            one, 1, branches=(*branches(2, "CANCELLED")[:2], branches(1, "CONFIRMED")[2])
        ),
    ),
    "a reservation that the transaction doesn't know was confirmed under it": (
        "no mixed outcome",
        lambda one: with_reservation(one, replace(SECOND, transaction_id="t2")),
    ),
    "an order is confirmed whose transaction was cancelled": (
        "no mixed outcome",
        lambda one: order(one, 1, status="CONFIRMED"),
    ),
    "a decision was taken back": (
        "decision never changes",
        lambda one: transaction(one, 1, history=("TRYING", "CONFIRMING", "CANCELLING", "CANCELLED")),
    ),
    "a transaction is not what its timeline says": (
        "decision never changes",
        lambda one: transaction(one, 0, history=("TRYING", "CONFIRMING")),
    ),
    "what was confirmed was never held": (
        "confirmed implies tried",
        lambda one: replace(one, reservations=one.reservations[1:]),
    ),
    "it is confirmed and held by nobody": (
        "confirmed implies tried",
        lambda one: transaction(one, 0, branches=()),
    ),
    "a reservation belongs to an unknown transaction": (
        "reservations have owners",
        lambda one: reservation(one, 1, transaction_id="t9"),
    ),
    "a reservation is a branch that its transaction doesn't have": (
        "reservations have owners",
        lambda one: with_reservation(one, replace(SECOND, state="TRIED")),
    ),
    "an order ended whose transaction is unknown": (
        "orders have transactions",
        lambda one: replace(one, transactions=one.transactions[:1]),
    ),
    "an order ended before it was decided": (
        "orders have transactions",
        lambda one: transaction(one, 1, state="TRYING", branches=branches(2, "TRYING"), history=()),
    ),
    "an order was paid twice": (
        "one effect for each order",
        lambda one: with_reservation(one, SECOND),
    ),
    "an order was never paid": (
        "one effect for each order",
        lambda one: replace(one, reservations=one.reservations[:2] + one.reservations[3:]),
    ),
    "something else was sold than was ordered": (
        "one effect for each order",
        lambda one: reservation(one, 1, items={"p": 1}),
    ),
    "another amount was captured than was ordered": (
        "one effect for each order",
        lambda one: reservation(one, 2, amount=49),
    ),
    "a sale counted twice": ("stock adds up", lambda one: product(one, on_hand=5, available=5, sold=5)),
    "a sale that took nothing from the shelf": ("stock adds up", lambda one: product(one, sold=4)),
    "a unit vanished": ("stock adds up", lambda one: product(one, on_hand=6, available=6)),
    "a hold was not let go": ("stock adds up", lambda one: product(one, held=2, available=5)),
    "a hold that isn't counted": (
        "stock adds up",
        lambda one: with_reservation(one, replace(STANDALONE, state="TRIED")),
    ),
    "available doesn't add up": ("stock adds up", lambda one: product(one, available=8)),
    "more is held than is there": ("stock adds up", lambda one: product(one, held=8, available=-1)),
    "less than nothing is held": ("stock adds up", lambda one: product(one, held=-1, available=8)),
    "a product is gone that was sold": ("stock adds up", lambda one: replace(one, products=())),
    "a capture counted twice": (
        "money is conserved",
        lambda one: account(one, balance=10, available=10, captured=100),
    ),
    "a capture that took no money": ("money is conserved", lambda one: account(one, captured=100)),
    "money appeared": ("money is conserved", lambda one: account(one, balance=61, available=61)),
    "money was not given free": ("money is conserved", lambda one: account(one, held=50, available=10)),
    "an account was overdrawn": ("money is conserved", lambda one: account(one, held=70, available=-10)),
    "more was refunded than captured": (
        "money is conserved",
        lambda one: account(one, balance=101, available=101, refunded=51),
    ),
    "an account is gone that paid": ("money is conserved", lambda one: replace(one, accounts=())),
    "a customer has more than the limit": (
        "limits are kept",
        lambda one: with_reservation(one, replace(STANDALONE, state="TRIED", items={"p": 2})),
    ),
    "a letter confirms an unknown transaction": (
        "confirm letters belong",
        lambda one: letter(one, transaction_id="t9"),
    ),
    "a letter confirms what was cancelled": (
        "confirm letters belong",
        lambda one: letter(one, branch_id="stock-2", transaction_id="t2"),
    ),
    "a letter confirms an unknown reservation": (
        "confirm letters belong",
        lambda one: letter(one, branch_id="nobody", transaction_id=None),
    ),
}

LEFT_OVER: Mapping[str, tuple[str, Callable[[Snapshot], Snapshot]]] = {
    "an order is undecided": ("orders are final", lambda one: order(one, 1, status="PENDING")),
    "an order is not settled": ("orders are final", lambda one: order(one, 0, status="CONFIRMING")),
    "a transaction is not settled": (
        "transactions are final",
        lambda one: transaction(one, 0, state="CONFIRMING"),
    ),
    "a reservation is held for ever": (
        "no reservation dangles",
        lambda one: with_reservation(one, replace(STANDALONE, state="TRIED")),
    ),
    "a Confirm never came": (
        "no reservation dangles",
        lambda one: with_reservation(one, replace(STANDALONE, state="CONFIRMING")),
    ),
    "an acknowledgement never came": (
        "both sides agree",
        lambda one: transaction(one, 0, branches=branches(1, "CONFIRMING")),
    ),
    "units are held": ("nothing is held", lambda one: product(one, held=1, available=6)),
    "money is held": ("nothing is held", lambda one: account(one, held=1, available=59)),
    "a letter waits": ("letters are settled", lambda one: letter(one, state="OPEN")),
}


def test_nothing_is_found_where_all_is_well() -> None:
    assert broken(sound()) == []
    assert unfinished(sound()) == []
    assert unkept(sound(), {"o1": Promise.KEPT, "o2": Promise.GONE}) == []


def test_a_system_at_work_breaks_nothing() -> None:
    """One order is held, one is being confirmed, one is being cancelled, one is not even tried."""
    busy = Snapshot(
        orders=(
            Order("o1", "t1", "ann", TRADE, 50, "HELD"),
            Order("o2", "t2", "ann", TRADE, 50, "CONFIRMING"),
            Order("o3", "t3", "ann", TRADE, 50, "CANCELLING"),
            Order("o4", "t4", "ann", TRADE, 50, "PENDING"),
        ),
        transactions=(
            Transaction("t1", "TRIED", branches(1, "TRIED")[:2], ("TRYING", "TRIED")),
            Transaction("t2", "CONFIRMING", branches(2, "CONFIRMING"), ("TRYING", "CONFIRMING")),
            Transaction(
                "t3",
                "CANCELLING",
                (*branches(3, "CANCELLING")[:2], replace(branches(3, "REFUSED")[2])),
                ("TRYING", "CANCELLING"),
            ),
        ),
        reservations=(
            *reservations(1, "TRIED")[:2],
            replace(reservations(2, "TRIED")[0]),
            *reservations(2, "CONFIRMED")[1:],
            *reservations(3, "TRIED")[:2],
        ),
        products=(Product("p", on_hand=8, held=4, available=4, sold=2, adjusted=10),),
        accounts=(Account("ann", balance=50, held=0, available=50, captured=50, refunded=0, deposited=100),),
    )
    assert broken(busy) == []


def test_a_payment_that_was_refused_before_another_went_through_is_no_mixed_outcome() -> None:
    closed = Branch("payment-0", "payment", "CLOSED")
    refused = Reservation("payment", "payment-0", "CANCELLED", "t1", "ann", amount=50)
    one = transaction(sound(), 0, branches=(*branches(1, "CONFIRMED"), closed))
    assert broken(with_reservation(one, refused)) == []


@pytest.mark.parametrize("planted", PLANTED)
def test_a_broken_invariant_is_found(planted: str) -> None:
    invariant, plant = PLANTED[planted]
    findings = broken(plant(sound()))
    assert invariant in {finding.invariant for finding in findings}, findings


@pytest.mark.parametrize("planted", LEFT_OVER)
def test_what_is_left_over_is_found(planted: str) -> None:
    invariant, plant = LEFT_OVER[planted]
    findings = unfinished(plant(sound()))
    assert {finding.invariant for finding in findings} == {invariant}


def test_every_invariant_has_a_violation_planted() -> None:
    named = [{check.__name__.replace("_", " ") for check in checks} for checks in (ALWAYS, AT_REST)]
    assert named == [{one for one, _ in PLANTED.values()}, {one for one, _ in LEFT_OVER.values()}]


@pytest.mark.parametrize(
    ("promises", "found"),
    [
        ({"o1": Promise.GONE, "o2": Promise.GONE}, "order o1: its customer was told 'gone'"),
        ({"o1": Promise.KEPT, "o2": Promise.KEPT}, "order o2: its customer was told 'kept'"),
        ({"o1": Promise.KEPT, "o2": Promise.TAKEN, "o3": Promise.TAKEN}, "order o3: it is gone"),
        ({"o1": Promise.KEPT}, "order o2: nobody placed it"),
    ],
)
def test_a_broken_promise_is_found(promises: dict[str, Promise], found: str) -> None:
    [finding] = unkept(sound(), promises)
    assert found in str(finding)
