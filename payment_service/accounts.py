"""Accounts and captures in the database: balances are set, captured money is refunded.

These are the rare moves, off the hot path of orders. Each locks the row it decides about, asks the pure
rules, writes, and records what it did.
"""

from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, BindParameter, Connection, bindparam, delete, select, update

from payment_service.domain import Funds, RefundState, rebalanced, refund_amount
from payment_service.tables import ACCOUNT, CAPTURE, DEPOSIT, REFUND
from shared.clock import Millis
from shared.database.port import insert_new
from shared.errors import NotFound, Refused
from shared.tcc import fence


class AccountRow(NamedTuple):
    """A row of the account table, its columns in their order."""

    customer_id: str
    balance: int
    held: int
    captured: int
    refunded: int
    version: int
    created_at: Millis
    updated_at: Millis

    @property
    def funds(self) -> Funds:
        return Funds(self.balance, self.held, self.captured, self.refunded)


class RefundRow(NamedTuple):
    """A row of the refund table, its columns in their order."""

    id: str
    payment_id: str
    customer_id: str
    amount: int
    reason: str
    created_at: Millis
    state: str = RefundState.DONE.value
    attempts: int = 0
    due_at: Millis | None = None


def put(
    connection: Connection, customer_id: str, balance: int | None, *, deposit_id: str, now: Millis
) -> tuple[AccountRow, bool]:
    """Set an account's balance (None: leave it), opening it if need be; return it and whether it was opened.

    Raises what domain.rebalanced raises.
    """
    empty = AccountRow(customer_id, 0, 0, 0, 0, 0, now, now)
    opened = insert_new(connection, ACCOUNT, empty._asdict())
    account = _locked(connection, customer_id)
    if balance is None:
        return account, opened
    rebalanced(account.funds, balance)
    delta = balance - account.balance
    if opened or delta:
        connection.execute(_SET_BALANCE, {"c": customer_id, "new_balance": balance, "now": now})
    if delta:
        row = {"id": deposit_id, "customer_id": customer_id, "delta": delta, "created_at": now}
        connection.execute(_RECORD_DEPOSIT, row)
    return _locked(connection, customer_id), opened


def read(connection: Connection, customer_id: str) -> AccountRow:
    """Read an account; raises NotFound."""
    return _account(connection.execute(_READ, {"c": customer_id}).one_or_none(), customer_id)


def page(connection: Connection, after: str, most: int) -> list[AccountRow]:
    """Return up to `most` accounts whose customer comes after the given one, in the order of their ids."""
    return [AccountRow(*row) for row in connection.execute(_PAGE, {"after": after, "most": most})]


def refund(
    connection: Connection,
    payment_id: str,
    amount: int | None,
    reason: str,
    *,
    refund_id: str,
    now: Millis,
    due_at: Millis | None = None,
) -> RefundRow:
    """Give back an amount of a captured payment (None: all that is left of it), and record it.

    due_at: for money that goes back through a gateway, when that is taken up again unless it was settled; the
    refund is PENDING then, and its amount is spoken for.

    Raises NotFound for an unknown payment, Refused `payment-not-captured`, or what domain.refund_amount
    raises.
    """
    row = connection.execute(_LOCK_CAPTURE, {"p": payment_id}).one_or_none()
    if row is None:
        raise _not_captured(connection, payment_id)
    given = refund_amount(payment_id, row.amount, row.refunded, amount)
    connection.execute(_REFUND_CAPTURE, {"p": payment_id, "a": given})
    paid_back = connection.execute(_PAY_BACK, {"c": row.customer_id, "a": given, "now": now}).rowcount
    assert paid_back == 1, f"the account {row.customer_id} of payment {payment_id} is gone"
    refunded = RefundRow(refund_id, payment_id, row.customer_id, given, reason, now)
    if due_at is not None:
        refunded = refunded._replace(state=RefundState.PENDING.value, due_at=due_at)
        _pass_on(connection, refunded)
    connection.execute(_RECORD_REFUND, refunded._asdict())
    return refunded


def due_refunds(connection: Connection, now: Millis, most: int) -> list[RefundRow]:
    """Return PENDING refunds that are to be taken up by now, the longest due first."""
    return [RefundRow(*row) for row in connection.execute(_DUE, {"now": now, "most": most})]


def take_up_refund(connection: Connection, refund: RefundRow, due_at: Millis) -> RefundRow | None:
    """Begin another attempt of a PENDING refund; None where somebody else has, or has settled it."""
    attempt = {"r": refund.id, "known": refund.attempts, "at": due_at}
    if connection.execute(_TAKE_UP, attempt).rowcount == 0:
        return None
    return refund._replace(attempts=refund.attempts + 1, due_at=due_at)


def settle_refund(connection: Connection, refund: RefundRow, state: RefundState, now: Millis) -> RefundRow:
    """Make a PENDING refund DONE or FAILED, once; FAILED undoes what it had booked. Return how it stands."""
    settled = connection.execute(_SETTLE, {"r": refund.id, "to": state.value}).rowcount == 1
    if settled and state is RefundState.FAILED:
        connection.execute(_REFUND_CAPTURE, {"p": refund.payment_id, "a": -refund.amount})
        connection.execute(_TAKE_BACK, {"c": refund.customer_id, "a": refund.amount, "now": now})
        connection.execute(_FORGET_DEPOSIT, {"d": refund.id})
    return read_refund(connection, refund.id)


def read_refund(connection: Connection, refund_id: str) -> RefundRow:
    """Read a refund that is known to be there."""
    return RefundRow(*connection.execute(_REFUND, {"r": refund_id}).one())


def refunds(connection: Connection, payment_id: str, after: str, most: int) -> list[RefundRow]:
    """Return up to `most` refunds of a payment whose id comes after the given one; raises NotFound."""
    known = connection.execute(_CAPTURED, {"p": payment_id}).one_or_none()
    if known is None and fence.peek(connection, payment_id) is None:
        raise _unknown_payment(payment_id)
    rows = connection.execute(_REFUNDS, {"p": payment_id, "after": after, "most": most})
    return [RefundRow(*row) for row in rows]


def _pass_on(connection: Connection, refund: RefundRow) -> None:
    """Take refunded money out of the account at once, because it goes on to the customer's card."""
    connection.execute(_PASS_ON, {"c": refund.customer_id, "a": refund.amount})
    row = {"id": refund.id, "customer_id": refund.customer_id, "delta": -refund.amount}
    connection.execute(_RECORD_DEPOSIT, row | {"created_at": refund.created_at})


def _locked(connection: Connection, customer_id: str) -> AccountRow:
    return _account(connection.execute(_LOCK, {"c": customer_id}).one_or_none(), customer_id)


def _account(row: Any, customer_id: str) -> AccountRow:
    if row is None:
        raise unknown_account(customer_id)
    return AccountRow(*row)


def _not_captured(connection: Connection, payment_id: str) -> Refused:
    reservation = fence.peek(connection, payment_id)
    if reservation is None:
        return _unknown_payment(payment_id)
    return Refused(
        "payment-not-captured",
        f"Payment {payment_id} is {reservation.state.value}: only a captured payment can be refunded.",
        state=reservation.state.value,
    )


def unknown_account(customer_id: str) -> NotFound:
    """Return what is said of an account that there isn't, or that is another customer's."""
    return NotFound(f"Customer {customer_id} has no account.")


def _unknown_payment(payment_id: str) -> NotFound:
    return NotFound(f"There is no payment {payment_id}.")


_A: Final[BindParameter[int]] = bindparam("a", type_=BigInteger())
_OF_CUSTOMER: Final = ACCOUNT.c.customer_id == bindparam("c")
_OF_PAYMENT: Final = CAPTURE.c.payment_id == bindparam("p")
_CHANGED: Final = {"version": ACCOUNT.c.version + 1, "updated_at": bindparam("now")}

_READ: Final = select(ACCOUNT).where(_OF_CUSTOMER)
_LOCK: Final = _READ.with_for_update()
_PAGE: Final = (
    select(ACCOUNT)
    .where(ACCOUNT.c.customer_id > bindparam("after"))
    .order_by(ACCOUNT.c.customer_id)
    .limit(bindparam("most"))
)
_SET_BALANCE: Final = update(ACCOUNT).where(_OF_CUSTOMER).values(balance=bindparam("new_balance"), **_CHANGED)
_RECORD_DEPOSIT: Final = DEPOSIT.insert()
_CAPTURED: Final = select(CAPTURE).where(_OF_PAYMENT)
_LOCK_CAPTURE: Final = _CAPTURED.with_for_update()
_REFUND_CAPTURE: Final = update(CAPTURE).where(_OF_PAYMENT).values(refunded=CAPTURE.c.refunded + _A)
_PAY_BACK: Final = (
    update(ACCOUNT)
    .where(_OF_CUSTOMER)
    .values(balance=ACCOUNT.c.balance + _A, refunded=ACCOUNT.c.refunded + _A, **_CHANGED)
)
_RECORD_REFUND: Final = REFUND.insert()
_PASS_ON: Final = update(ACCOUNT).where(_OF_CUSTOMER).values(balance=ACCOUNT.c.balance - _A)
_TAKE_BACK: Final = update(ACCOUNT).where(_OF_CUSTOMER).values(refunded=ACCOUNT.c.refunded - _A, **_CHANGED)
_FORGET_DEPOSIT: Final = delete(DEPOSIT).where(DEPOSIT.c.id == bindparam("d"))
_STILL_PENDING: Final = (REFUND.c.id == bindparam("r")) & (REFUND.c.state == RefundState.PENDING.value)
_DUE: Final = (
    select(REFUND)
    .where(REFUND.c.due_at <= bindparam("now"))
    .order_by(REFUND.c.due_at)
    .limit(bindparam("most"))
)
_TAKE_UP: Final = (
    update(REFUND)
    .where(_STILL_PENDING, REFUND.c.attempts == bindparam("known"))
    .values(attempts=REFUND.c.attempts + 1, due_at=bindparam("at"))
)
_SETTLE: Final = update(REFUND).where(_STILL_PENDING).values(state=bindparam("to"), due_at=None)
_REFUND: Final = select(REFUND).where(REFUND.c.id == bindparam("r"))
_REFUNDS: Final = (
    select(REFUND)
    .where(REFUND.c.payment_id == bindparam("p"), REFUND.c.id > bindparam("after"))
    .order_by(REFUND.c.id)
    .limit(bindparam("most"))
)
