"""Payment as a participant: a claim of money, and the rules that authorise, capture and void it.

Every rule is one conditional update, so that what is checked and what is changed are one step. Where the
money itself is elsewhere (`PaymentGateway`), the same participant has that gateway's effect beside its rules.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, BindParameter, Connection, bindparam, select, update

from payment_service.accounts import RefundRow
from payment_service.domain import GUEST, MAX_MONEY, Funds, declined
from payment_service.tables import ACCOUNT, CAPTURE, PAID_EARLIER
from shared.database.port import insert_new
from shared.database.prepared import Prepared
from shared.http.model import Body, Maybe, Money
from shared.identity import Id
from shared.tcc.effects import ExternalEffect
from shared.tcc.participant import Context, Participant, Rule


class PaymentClaim(Body):
    """What is to be paid, in minor units, and by whom."""

    customer_id: Id = GUEST
    order_id: Maybe[Id] = None
    payment_amt: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentGateway:
    """The port to whoever holds the money of payments.

    authorise, capture, void: what that does in this service's own books, in the commit of the fence's move;
    effect: what it does elsewhere, between two commits (None: nothing, the books are the money); give_back:
    sends a refund to where its payment came from, once for each refund's id; raises Refused where that is
    declined, and anything else where it may have happened.
    """

    authorise: Rule[PaymentClaim]
    capture: Rule[PaymentClaim]
    void: Rule[PaymentClaim]
    effect: ExternalEffect[PaymentClaim] | None = None
    give_back: Callable[[RefundRow], Awaitable[None]] | None = None


def payment_through(gateway: PaymentGateway) -> Participant[PaymentClaim]:
    """Return the participant whose money is at that gateway."""
    return Participant(
        name="payment",
        collection="payments",
        topic="payment-capture",
        claim=PaymentClaim,
        on_try=gateway.authorise,
        on_confirm=gateway.capture,
        on_cancel=gateway.void,
        on_forget=keep_count,
        key=message_key,
        effect=gateway.effect,
    )


def authorise(connection: Connection, claim: PaymentClaim, context: Context) -> None:
    """Hold the money; raises Refused `payment-declined` where the account hasn't enough or isn't there."""
    if not _AUTHORISE.hits(connection, _parameters(claim, context)):
        funds = _funds(connection, claim.customer_id)
        raise declined(claim.customer_id, claim.payment_amt, funds)


def capture(connection: Connection, claim: PaymentClaim, context: Context) -> None:
    """Take the held money for good, and remember the capture for its refunds."""
    captured = _CAPTURE.hits(connection, _parameters(claim, context))
    assert captured, f"{claim.payment_amt} is not held for {claim.customer_id} and can't be captured"
    row = {
        "payment_id": context.branch_id,
        "customer_id": claim.customer_id,
        "order_id": claim.order_id,
        "amount": claim.payment_amt,
        "refunded": 0,
        "captured_at": context.now,
    }
    _KEEP.hits(connection, row)


def void(connection: Connection, claim: PaymentClaim, context: Context) -> None:
    """Give the held money free."""
    voided = _VOID.hits(connection, _parameters(claim, context))
    assert voided, f"{claim.payment_amt} is not held for {claim.customer_id} and can't be voided"


def keep_count(connection: Connection, claims: Sequence[PaymentClaim]) -> None:
    """Keep in a sum what was paid by reservations that are deleted: the audit counts it."""
    paid: Counter[str] = Counter()
    for claim in claims:
        paid[claim.customer_id] += claim.payment_amt
    # In one order, so that no two wait for each other.
    for customer_id, amount in sorted(paid.items()):
        if not insert_new(connection, PAID_EARLIER, {"customer_id": customer_id, "paid": amount}):
            _KEEP_PAID.run(connection, {"c": customer_id, "a": amount})


def message_key(_branch_id: str, claim: PaymentClaim) -> str:
    """Return the Kafka key of a claim's Confirm: its customer."""
    return claim.customer_id


def _funds(connection: Connection, customer_id: str) -> Funds | None:
    row = connection.execute(_FUNDS, {"c": customer_id}).one_or_none()
    return None if row is None else Funds(row.balance, row.held, row.captured, row.refunded)


def _parameters(claim: PaymentClaim, context: Context) -> Mapping[str, Any]:
    return {"c": claim.customer_id, "a": claim.payment_amt, "now": context.now}


_A: Final[BindParameter[int]] = bindparam("a", type_=BigInteger())
_OF_CUSTOMER: Final = ACCOUNT.c.customer_id == bindparam("c")
_CHANGED: Final = {"version": ACCOUNT.c.version + 1, "updated_at": bindparam("now")}

_FUNDS: Final = select(ACCOUNT).where(_OF_CUSTOMER)
_AUTHORISE: Final = Prepared(
    update(ACCOUNT)
    .where(
        _OF_CUSTOMER,
        ACCOUNT.c.balance - ACCOUNT.c.held >= _A,
        # A capture can't be refused any more, so its place in the count is taken here.
        ACCOUNT.c.captured + ACCOUNT.c.held + _A <= MAX_MONEY,
    )
    .values(held=ACCOUNT.c.held + _A, **_CHANGED),
    sorted_by=("c",),
)
_CAPTURE: Final = Prepared(
    update(ACCOUNT)
    .where(_OF_CUSTOMER, ACCOUNT.c.held >= _A)
    .values(
        held=ACCOUNT.c.held - _A,
        balance=ACCOUNT.c.balance - _A,
        captured=ACCOUNT.c.captured + _A,
        **_CHANGED,
    ),
    sorted_by=("c",),
)
_VOID: Final = Prepared(
    update(ACCOUNT).where(_OF_CUSTOMER, ACCOUNT.c.held >= _A).values(held=ACCOUNT.c.held - _A, **_CHANGED),
    sorted_by=("c",),
)
_KEEP: Final = Prepared(CAPTURE.insert())
_KEEP_PAID: Final = Prepared(
    update(PAID_EARLIER)
    .where(PAID_EARLIER.c.customer_id == bindparam("c"))
    .values(paid=PAID_EARLIER.c.paid + _A)
)

LEDGER: Final = PaymentGateway(authorise=authorise, capture=capture, void=void)
"""The embedded default: the money is what the accounts here say."""

payment: Final = payment_through(LEDGER)
