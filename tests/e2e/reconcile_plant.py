"""Databases of four programs in which many transactions have ended well, and some have not.

`Books` is filled with transactions, reservations and orders, sound ones and broken ones; what follows from
the reservations (counters, captures) is added up from them, so that a broken transaction is all that is wrong
of it. Then single counters are broken as well. Each fault says what a reconciliation has to find.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle
from typing import Any, Final, NamedTuple

import pydantic_core
from sqlalchemy import Connection, Update, update

import coordinator.log
import order_service.orders
from coordinator.branch import Branch, BranchState
from coordinator.log import Change
from coordinator.reconciliation import Kind
from coordinator.transaction import Mode, State, Transaction
from order_service.domain import Line, Status
from order_service.orders import Order
from payment_service.tables import ACCOUNT, CAPTURE, DEPOSIT
from shared.clock import SystemClock
from shared.database.place import Place
from shared.identity import ulids
from shared.messaging.broker import Record
from shared.messaging.failure import Failure
from shared.messaging.letters import keep
from shared.messaging.listener import Subject
from shared.migrations import upgrade
from shared.tcc import fence
from shared.tcc.fence import Fence
from shared.tcc.protocol import HOLDING
from shared.tcc.protocol import State as Held
from stock_service.tables import ADJUSTMENT, PRODUCT, PURCHASE
from tests.stores import within

PRODUCTS: Final = 500
CUSTOMERS: Final = 2_000
PLENTY: Final = 10**9
AN_HOUR: Final = 3_600_000


class Expected(NamedTuple):
    """What must be found of a fault. repaired: and whether it must be right afterwards."""

    participant: str
    kind: str
    subject: str
    repaired: bool


Break = Callable[[Connection], None]


@dataclass
class Books:
    """What goes into the databases. breaks: what is done to counters once they are right; begun: the ids of
    all transactions, in turn; touched: those that a reconciliation may change."""

    now: int
    transactions: list[Transaction] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    fences: dict[str, list[Fence]] = field(default_factory=lambda: {"order": [], "stock": [], "payment": []})
    breaks: list[tuple[str, Break]] = field(default_factory=list)
    expected: set[Expected] = field(default_factory=set)
    begun: list[str] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.new_id = ulids(SystemClock(), random.Random(self.now))
        self.old = self.now - 2 * AN_HOUR
        self._number = 0
        self.product = self.customer = ""

    def next(self) -> str:
        """Turn to the next transaction; return its id."""
        self._number += 1
        self.product = f"product-{self._number % PRODUCTS}"
        self.customer = f"customer-{self._number % CUSTOMERS}"
        self.begun.append(self.new_id())
        return self.begun[-1]

    def transaction(
        self,
        transaction_id: str,
        state: State,
        branches: Mapping[str, BranchState],
        *,
        deadline: int = 0,
        mode: Mode = Mode.AUTO,
    ) -> None:
        """Write a transaction down. Nothing of it is due for long: only a reconciliation acts."""
        decided = None if state in (State.TRYING, State.TRIED) else self.old
        initiator = "order" if "order" in branches else None
        later = self.now + 10 * AN_HOUR
        self.transactions.append(
            Transaction(
                transaction_id,
                mode,
                state,
                10_000,
                deadline or self.old + 10_000,
                initiator,
                tuple(
                    Branch(branch_of(transaction_id, name), name, {}, state=one, due_at=later)
                    for name, one in branches.items()
                ),
                "hash",
                self.old,
                self.old,
                decided_at=decided,
            )
        )

    def reserve(
        self,
        participant: str,
        transaction_id: str | None,
        state: Held,
        *,
        branch_id: str | None = None,
        expires_at: int | None = None,
    ) -> str:
        """Write a reservation down; return its id."""
        claims: dict[str, dict[str, Any]] = {
            "order": {"orderId": transaction_id},
            "stock": {"items": [{"productId": self.product, "qty": 1}], "customerId": self.customer},
            "payment": {"customerId": self.customer, "paymentAmt": 5},
        }
        name = branch_id or branch_of(str(transaction_id), participant)
        claim = pydantic_core.to_json(claims[participant]).decode()
        expires = self.old + 10_000 if expires_at is None else expires_at
        self.fences[participant].append(
            Fence(
                id=name,
                transaction_id=transaction_id,
                state=state,
                claim=claim,
                claim_hash="hash",
                expires_at=expires,
                reason=None,
                refusal=None,
                in_doubt=False,
                intent=None,
                undo=False,
                effect=None,
                attempts=0,
                due_at=None,
                created_at=self.old,
                updated_at=self.old,
            )
        )
        return name

    def order(self, transaction_id: str, status: Status) -> None:
        """Write an order down, and the reservation that is made with it."""
        self.orders.append(
            Order(
                order_id=transaction_id,
                transaction_id=transaction_id,
                customer_id=self.customer,
                lines=(Line(self.product, 1),),
                payment_amt=5,
                hold_seconds=None,
                body_hash="hash",
                status=status,
                reason=None,
                refusal=None,
                expires_at=None,
                attempts=0,
                due_at=None,
                created_at=self.old,
                updated_at=self.old,
            )
        )

    def sound(self, state: State = State.CONFIRMED, **instead: tuple[BranchState, Held | None]) -> str:
        """Write down an order's transaction that ended, but for what some participants have instead.

        instead: the branch's and the reservation's state (None: there is none) by participant.
        """
        transaction_id = self.next()
        ended = (BranchState(state.value), Held(state.value))
        pairs = {name: instead.get(name, ended) for name in ("order", "stock", "payment")}
        status = Status(state.value)
        if state is State.CONFIRMING:
            pairs = {**dict.fromkeys(pairs, _KEPT), "order": _OPEN} | instead
            status = Status.CONFIRMING
        self.transaction(transaction_id, state, {name: branch for name, (branch, _) in pairs.items()})
        for name, (_, held) in pairs.items():
            if held is not None:
                self.reserve(name, transaction_id, held)
        self.order(transaction_id, status)
        return transaction_id

    def expect(self, participant: str, kind: str, subject: str, *, repaired: bool) -> None:
        self.expected.add(Expected(participant, kind, subject, repaired))


_KEPT: Final = (BranchState.CONFIRMED, Held.CONFIRMED)
_OPEN: Final = (BranchState.CONFIRMING, Held.TRIED)


def branch_of(transaction_id: str, participant: str) -> str:
    return f"{transaction_id}-{participant}"


def _not_applied(books: Books) -> None:
    one = books.sound(State.CONFIRMING, stock=_OPEN)
    books.expect("stock", Kind.NOT_APPLIED, f"branch {branch_of(one, 'stock')}", repaired=True)


def _cancel_not_applied(books: Books) -> None:
    one = books.next()
    books.transaction(one, State.CANCELLING, {"payment": BranchState.CANCELLING})
    books.reserve("payment", one, Held.TRIED)
    books.expect("payment", Kind.NOT_APPLIED, f"branch {branch_of(one, 'payment')}", repaired=True)


def _unacknowledged(books: Books) -> None:
    one = books.sound(State.CONFIRMING, payment=(BranchState.CONFIRMING, Held.CONFIRMED))
    books.expect("payment", Kind.UNACKNOWLEDGED, f"branch {branch_of(one, 'payment')}", repaired=True)


def _dangling(books: Books) -> None:
    one = books.next()
    books.transaction(one, State.TRIED, {"stock": BranchState.TRIED}, mode=Mode.MANUAL)
    books.reserve("stock", one, Held.TRIED)
    books.expect("stock", Kind.DANGLING, f"branch {branch_of(one, 'stock')}", repaired=True)


def _unknown(books: Books) -> None:
    one = books.next()
    books.reserve("payment", one, Held.TRIED)
    books.expect("payment", Kind.UNKNOWN, f"branch {branch_of(one, 'payment')}", repaired=True)


def _strange(books: Books) -> None:
    one = books.sound()
    stray = books.reserve("stock", one, Held.TRIED, branch_id=f"{one}-stray")
    books.expect("stock", Kind.STRANGE, f"branch {stray}", repaired=True)


def _still_held(books: Books) -> None:
    one = books.sound(State.CANCELLED, stock=(BranchState.CANCELLED, Held.TRIED))
    books.expect("stock", Kind.STILL_HELD, f"branch {branch_of(one, 'stock')}", repaired=True)


def _rolled_back(books: Books) -> None:
    one = books.sound(payment=(BranchState.CONFIRMED, Held.TRIED))
    books.expect("payment", Kind.ROLLED_BACK, f"branch {branch_of(one, 'payment')}", repaired=True)


def _absent(books: Books) -> None:
    one = books.sound(stock=(BranchState.CONFIRMED, None))
    books.expect("stock", Kind.ABSENT, f"branch {branch_of(one, 'stock')}", repaired=False)


def _hold_lost(books: Books) -> None:
    one = books.next()
    deadline = books.now + 10 * AN_HOUR
    books.transaction(one, State.TRIED, {"stock": BranchState.TRIED}, mode=Mode.MANUAL, deadline=deadline)
    books.expect("stock", Kind.HOLD_LOST, f"branch {branch_of(one, 'stock')}", repaired=False)


def _not_decided(books: Books) -> None:
    one = books.next()
    books.reserve("payment", one, Held.CONFIRMED)
    books.expect("payment", Kind.NOT_DECIDED, f"branch {branch_of(one, 'payment')}", repaired=False)


def _contradiction(books: Books) -> None:
    one = books.sound(State.CANCELLED, payment=(BranchState.CANCELLED, Held.CONFIRMED))
    books.expect("payment", Kind.CONTRADICTION, f"branch {branch_of(one, 'payment')}", repaired=False)


def _others_branch(books: Books) -> None:
    """A reservation that names another transaction than the one whose branch it is."""
    other = books.sound()
    one = books.sound(stock=(BranchState.CONFIRMED, None))
    branch_id = books.reserve("stock", other, Held.CONFIRMED, branch_id=branch_of(one, "stock"))
    books.expect("stock", Kind.OTHERS_BRANCH, f"branch {branch_id}", repaired=False)
    books.expect("stock", Kind.NOT_DECIDED, f"branch {branch_id}", repaired=False)


def _order_behind(books: Books) -> None:
    one = books.sound()
    books.orders[-1] = replace(books.orders[-1], status=Status.CONFIRMING)
    books.expect("order", "order-differs", f"order {one}", repaired=True)


def _standalone(books: Books) -> None:
    name = books.reserve("payment", None, Held.TRIED, branch_id=branch_of(books.next(), "payment"))
    books.expect("payment", "standalone-dangling", f"reservation {name}", repaired=True)


def _letter(books: Books) -> None:
    one = books.sound()
    branch_id, letter_id = branch_of(one, "stock"), f"letter-{one}"
    record = Record("stock-adjustment", 0, 0, 0, 0, None, b"{}")

    def work(connection: Connection) -> None:
        keep(
            connection,
            record,
            subject=Subject(branch_id, one),
            failure=Failure("E", "E", "", ""),
            attempts=1,
            group="handfast-stock",
            now=books.old,
            new_id=lambda: letter_id,
        )

    books.breaks.append(("stock", work))
    books.expect("stock", "letter-of-settled-branch", f"letter {letter_id}", repaired=True)


def _statement(books: Books, program: str, statement: Update) -> None:
    def work(connection: Connection) -> None:
        changed = connection.execute(statement).rowcount
        assert changed == 1, f"{changed} rows: {statement}"

    books.breaks.append((program, work))


def _product_counter(books: Books) -> None:
    books.sound()
    product = update(PRODUCT).where(PRODUCT.c.product_id == books.product)
    _statement(books, "stock", product.values(held=PRODUCT.c.held + 3))
    books.expect("stock", "counter-differs", f"product {books.product}", repaired=True)


def _purchase_counter(books: Books) -> None:
    books.sound()
    keys = (books.product, books.customer)
    purchase = update(PURCHASE).where(PURCHASE.c.product_id == keys[0], PURCHASE.c.customer_id == keys[1])
    _statement(books, "stock", purchase.values(sold=PURCHASE.c.sold + 2))
    books.expect("stock", "counter-differs", f"product {keys[0]}, customer {keys[1]}", repaired=True)


def _account_counter(books: Books) -> None:
    books.sound()
    account = update(ACCOUNT).where(ACCOUNT.c.customer_id == books.customer)
    _statement(books, "payment", account.values(captured=ACCOUNT.c.captured + 9))
    books.expect("payment", "counter-differs", f"account {books.customer}", repaired=True)


def _refund_counter(books: Books) -> None:
    name = branch_of(books.sound(), "payment")
    capture = update(CAPTURE).where(CAPTURE.c.payment_id == name)
    _statement(books, "payment", capture.values(refunded=2))
    books.expect("payment", "counter-differs", f"payment {name}", repaired=True)


def _on_hand(books: Books) -> None:
    books.sound()
    product = update(PRODUCT).where(PRODUCT.c.product_id == books.product)
    _statement(books, "stock", product.values(on_hand=PRODUCT.c.on_hand + 1))
    books.expect("stock", "on-hand-differs", f"product {books.product}", repaired=False)


def _balance(books: Books) -> None:
    books.sound()
    account = update(ACCOUNT).where(ACCOUNT.c.customer_id == books.customer)
    _statement(books, "payment", account.values(balance=ACCOUNT.c.balance - 1))
    books.expect("payment", "balance-differs", f"account {books.customer}", repaired=False)


FAULTS: Final = (
    _not_applied,
    _cancel_not_applied,
    _unacknowledged,
    _dangling,
    _unknown,
    _strange,
    _still_held,
    _rolled_back,
    _absent,
    _hold_lost,
    _not_decided,
    _contradiction,
    _others_branch,
    _order_behind,
    _standalone,
    _letter,
    _product_counter,
    _purchase_counter,
    _account_counter,
    _refund_counter,
    _on_hand,
    _balance,
)


def draw(transactions: int, faults: int) -> Books:
    """Return books of so many sound transactions, with so many faults of every kind spread among them."""
    books = Books(SystemClock().now())
    kinds = cycle(FAULTS)
    every = max(transactions // max(faults, 1), 1)
    planted = 0
    for number in range(transactions):
        books.sound(State.CANCELLED if number % 10 == 0 else State.CONFIRMED)
        if number % every == 0 and planted < faults:
            planted += 1
            before = len(books.begun)
            next(kinds)(books)
            books.touched.update(books.begun[before:])
    return books


def plant(books: Books, place: Callable[[str], Place]) -> None:
    """Write books into the databases of a stack that is not running. place: where each program's is."""
    fill: dict[str, Break] = {
        "coordinator": lambda connection: _fill_coordinator(connection, books),
        "order": lambda connection: _fill_order(connection, books),
        "stock": lambda connection: _fill_stock(connection, books),
        "payment": lambda connection: _fill_payment(connection, books),
    }
    for program, work in fill.items():
        upgrade(place(program), program)
        own = [broken for where, broken in books.breaks if where == program]
        within(place(program), partial(_write, [work, *own]))


def _write(works: Iterable[Break], connection: Connection) -> None:
    for work in works:
        work(connection)


def _fill_coordinator(connection: Connection, books: Books) -> None:
    later = books.now + 10 * AN_HOUR
    for one in books.transactions:
        due_at = None if one.state in (State.CONFIRMED, State.CANCELLED) else later
        assert coordinator.log.create(connection, Change(one, due_at=due_at)) is None


def _fill_order(connection: Connection, books: Books) -> None:
    for order in books.orders:
        assert order_service.orders.add(connection, order) is None
    _reserve(connection, books.fences["order"])


def _fill_stock(connection: Connection, books: Books) -> None:
    _reserve(connection, books.fences["stock"])
    held, sold = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for one in books.fences["stock"]:
        claim = pydantic_core.from_json(one.claim or "")
        keys = (claim["items"][0]["productId"], claim["customerId"])
        held[keys] += one.state in HOLDING
        sold[keys] += one.state is Held.CONFIRMED
    pairs = sorted(held.keys() | sold.keys())
    rows = [
        {"product_id": product, "customer_id": customer, "held": held[keys], "sold": sold[keys]}
        for keys in pairs
        for product, customer in [keys]
    ]
    connection.execute(PURCHASE.insert(), rows)
    for product in sorted({product for product, _ in pairs}):
        taken = sum(sold[keys] for keys in pairs if keys[0] == product)
        still = sum(held[keys] for keys in pairs if keys[0] == product)
        _put_product(connection, books, product, still, taken)


def _put_product(connection: Connection, books: Books, product: str, held: int, sold: int) -> None:
    connection.execute(
        PRODUCT.insert().values(
            product_id=product,
            name=product,
            on_hand=PLENTY - sold,
            held=held,
            sold=sold,
            version=1,
            created_at=books.old,
            updated_at=books.old,
        )
    )
    connection.execute(
        ADJUSTMENT.insert().values(
            id=books.new_id(),
            product_id=product,
            delta=PLENTY,
            reason="created",
            on_hand=PLENTY,
            created_at=books.old,
        )
    )


def _fill_payment(connection: Connection, books: Books) -> None:
    _reserve(connection, books.fences["payment"])
    held, captured = Counter[str](), Counter[str]()
    captures = []
    for one in books.fences["payment"]:
        claim = pydantic_core.from_json(one.claim or "")
        customer, amount = claim["customerId"], claim["paymentAmt"]
        held[customer] += amount * (one.state in HOLDING)
        if one.state is Held.CONFIRMED:
            captured[customer] += amount
            captures.append((one.id, customer, amount))
    columns = {"order_id": None, "refunded": 0, "captured_at": books.old}
    connection.execute(
        CAPTURE.insert(),
        [
            {"payment_id": payment, "customer_id": customer, "amount": amount, **columns}
            for payment, customer, amount in captures
        ],
    )
    for customer in sorted(held.keys() | captured.keys()):
        account = {"customer_id": customer, "version": 1, "created_at": books.old, "updated_at": books.old}
        levels = {"held": held[customer], "captured": captured[customer], "refunded": 0}
        balance = PLENTY - captured[customer]
        connection.execute(ACCOUNT.insert().values(**account, **levels, balance=balance))
        deposit = {"id": books.new_id(), "customer_id": customer, "delta": PLENTY, "created_at": books.old}
        connection.execute(DEPOSIT.insert().values(deposit))


def _reserve(connection: Connection, fences: Iterable[Fence]) -> None:
    for one in fences:
        assert fence.insert(connection, one), one.id
