"""What the payment service checks in its own database: accounts and captures against payments and refunds.

What an account holds, has had captured and refunded follows from its payments, captures and refunds, so it
is counted again where it differs. A balance follows from nothing but itself: where it isn't what was paid in
less what was captured, a person has to find out where the money is. So has one where confirmed payments and
the captures that were kept of them differ.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, case, literal, literal_column, or_, select, update

from payment_service.domain import Funds, RefundState, differences
from payment_service.tables import ACCOUNT, CAPTURE, DEPOSIT, PAID_EARLIER, REFUND
from shared.clock import Clock, Millis
from shared.database.documents import text_of, whole_of
from shared.database.port import Database
from shared.tcc.audit import Auditor, Discrepancy, Ledger, LedgerAudit, Verdict, evidence_of
from shared.tcc.fence import RESERVATION, is_confirmed, is_holding
from shared.tcc.sums import Sums


class AccountSums(NamedTuple):
    """An account's counters, and what its rows add up to. known: 0 where there is no such account."""

    customer_id: str
    known: int
    balance: int
    held: int
    captured: int
    refunded: int
    held_sum: int
    paid_sum: int
    captured_sum: int
    refunded_sum: int
    deposited: int


class CaptureSums(NamedTuple):
    """What a capture says was refunded of it, and what its refunds add up to."""

    payment_id: str
    known: int
    amount: int
    refunded: int
    refunded_sum: int


def auditors(database: Database, clock: Clock) -> list[Auditor]:
    """Return the checks of the payment service's own tables."""
    return [LedgerAudit(_ACCOUNTS, database, clock), LedgerAudit(_CAPTURES, database, clock)]


def _accounts(connection: Connection, after: str, most: int) -> Sequence[AccountSums]:
    return [AccountSums(*row) for row in _ACCOUNT_SUMS.differing(connection, after, most)]


def _judge_account(one: AccountSums) -> list[Discrepancy]:
    subject, place = f"account {one.customer_id}", one.customer_id
    if not one.known:
        sums = {"held": one.held_sum, "captured": one.captured_sum, "deposited": one.deposited}
        return [Discrepancy("account-missing", subject, Verdict.PERSON, place, sums)]
    wrong = differences(
        Funds(one.balance, one.held, one.captured, one.refunded),
        held=one.held_sum,
        captured=one.captured_sum,
        refunded=one.refunded_sum,
        deposited=one.deposited,
    )
    balance = wrong.pop("balance", None)
    found = []
    if wrong:
        verdict = Verdict.REPAIRABLE if _can_be_counted(one) else Verdict.PERSON
        found.append(Discrepancy("counter-differs", subject, verdict, place, evidence_of(wrong)))
    if balance is not None:
        evidence = {
            **evidence_of({"balance": balance}),
            "deposited": one.deposited,
            "captured": one.captured_sum,
        }
        found.append(Discrepancy("balance-differs", subject, Verdict.PERSON, place, evidence))
    if one.paid_sum != one.captured_sum:
        evidence = {"confirmedPayments": one.paid_sum, "captures": one.captured_sum}
        found.append(Discrepancy("captures-differ", subject, Verdict.PERSON, place, evidence))
    return found


def _can_be_counted(one: AccountSums) -> bool:
    """Say whether the sums are possible at all; where they aren't, counting again makes nothing right."""
    return one.held_sum <= one.balance and one.refunded_sum <= one.captured_sum


def _lock_accounts(connection: Connection, rows: Sequence[AccountSums]) -> None:
    statement = select(ACCOUNT.c.customer_id).where(
        ACCOUNT.c.customer_id.in_([row.customer_id for row in rows])
    )
    connection.execute(statement.order_by(ACCOUNT.c.customer_id).with_for_update())


def _recount_account(connection: Connection, one: AccountSums, now: Millis) -> bool:
    if not one.known or not _can_be_counted(one):
        return False
    counted = {"held": one.held_sum, "captured": one.captured_sum, "refunded": one.refunded_sum}
    changed = {**counted, "version": ACCOUNT.c.version + 1, "updated_at": now}
    statement = update(ACCOUNT).where(ACCOUNT.c.customer_id == one.customer_id)
    return connection.execute(statement.values(changed)).rowcount == 1


def _captures(connection: Connection, after: str, most: int) -> Sequence[CaptureSums]:
    return [CaptureSums(*row) for row in _CAPTURE_SUMS.differing(connection, after, most)]


def _judge_capture(one: CaptureSums) -> list[Discrepancy]:
    evidence = evidence_of({"refunded": (one.refunded, one.refunded_sum)})
    verdict = Verdict.REPAIRABLE if _can_be_refunded(one) else Verdict.PERSON
    subject = f"payment {one.payment_id}"
    return [
        Discrepancy("counter-differs", subject, verdict, one.payment_id, {**evidence, "captured": one.amount})
    ]


def _can_be_refunded(one: CaptureSums) -> bool:
    return one.known == 1 and one.refunded_sum <= one.amount


def _lock_captures(connection: Connection, rows: Sequence[CaptureSums]) -> None:
    statement = select(CAPTURE.c.payment_id).where(CAPTURE.c.payment_id.in_([row.payment_id for row in rows]))
    connection.execute(statement.order_by(CAPTURE.c.payment_id).with_for_update())


def _recount_capture(connection: Connection, one: CaptureSums, _now: Millis) -> bool:
    if not _can_be_refunded(one):
        return False
    statement = update(CAPTURE).where(CAPTURE.c.payment_id == one.payment_id)
    return connection.execute(statement.values(refunded=one.refunded_sum)).rowcount == 1


def _paid() -> Select[Any]:
    """Select what each payment holds and has taken."""
    amount = whole_of(RESERVATION.c.claim, "paymentAmt")
    return select(
        text_of(RESERVATION.c.claim, "customerId").label("customer_id"),
        case((is_holding(), amount), else_=0).label("held_sum"),
        case((is_confirmed(), amount), else_=0).label("paid_sum"),
    ).where(or_(is_holding(), is_confirmed()))


_GIVEN_BACK: Final = REFUND.c.state != literal_column(f"'{RefundState.FAILED.value}'")
_KNOWN: Final = literal(1).label("known")
_ACCOUNT_SUMS: Final = Sums(
    ("customer_id",),
    AccountSums._fields[1:],
    [
        select(
            ACCOUNT.c.customer_id,
            _KNOWN,
            ACCOUNT.c.balance,
            ACCOUNT.c.held,
            ACCOUNT.c.captured,
            ACCOUNT.c.refunded,
        ),
        _paid(),
        select(PAID_EARLIER.c.customer_id, PAID_EARLIER.c.paid.label("paid_sum")),
        select(CAPTURE.c.customer_id, CAPTURE.c.amount.label("captured_sum")),
        select(REFUND.c.customer_id, REFUND.c.amount.label("refunded_sum")).where(_GIVEN_BACK),
        select(DEPOSIT.c.customer_id, DEPOSIT.c.delta.label("deposited")),
    ],
    lambda of: or_(
        of["known"] == 0,
        of["held"] != of["held_sum"],
        of["captured"] != of["captured_sum"],
        of["refunded"] != of["refunded_sum"],
        of["paid_sum"] != of["captured_sum"],
        of["balance"] + of["captured_sum"] - of["refunded_sum"] != of["deposited"],
    ),
)
_CAPTURE_SUMS: Final = Sums(
    ("payment_id",),
    CaptureSums._fields[1:],
    [
        select(CAPTURE.c.payment_id, _KNOWN, CAPTURE.c.amount, CAPTURE.c.refunded),
        select(REFUND.c.payment_id, REFUND.c.amount.label("refunded_sum")).where(_GIVEN_BACK),
    ],
    lambda of: or_(of["known"] == 0, of["refunded"] != of["refunded_sum"]),
)
_ACCOUNTS: Final = Ledger("accounts", _accounts, _judge_account, _lock_accounts, _recount_account)
_CAPTURES: Final = Ledger("captures", _captures, _judge_capture, _lock_captures, _recount_capture)
