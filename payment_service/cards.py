"""Payments by card in this service's books: who pays with which card, and what the gateway calls a payment.

Money that a gateway holds for a payment is booked as paid in and held at once; captured, it has left the
account like any other; voided, it never came in. So an account adds up as with the ledger, and none of this
money can be spent twice.
"""

from typing import Final, NamedTuple

from sqlalchemy import BigInteger, BindParameter, Connection, bindparam, delete, select, update

from payment_service.domain import MAX_MONEY
from payment_service.participant import PaymentClaim, void
from payment_service.tables import ACCOUNT, CARD, CARD_PAYMENT, DEPOSIT
from shared.clock import Millis
from shared.database.port import insert_new
from shared.errors import Refused
from shared.tcc.participant import Context


class CardRow(NamedTuple):
    """A row of the card table, its columns in their order."""

    customer_id: str
    method: str
    holder: str | None
    updated_at: Millis


class CardPaymentRow(NamedTuple):
    """A row of the card_payment table, its columns in their order."""

    payment_id: str
    method: str
    holder: str | None
    intent_id: str | None
    barred: bool
    created_at: Millis


def register(connection: Connection, card: CardRow) -> None:
    """Have a customer pay with this card from now on; payments that have begun keep theirs."""
    if not insert_new(connection, CARD, card._asdict()):
        values = {"method": card.method, "holder": card.holder, "updated_at": card.updated_at}
        connection.execute(update(CARD).where(CARD.c.customer_id == card.customer_id).values(values))


def forget(connection: Connection, customer_id: str) -> None:
    """Have a customer pay with no card from now on; payments that have begun keep theirs."""
    connection.execute(delete(CARD).where(CARD.c.customer_id == customer_id))


def cards_of(connection: Connection, customer_ids: list[str]) -> dict[str, CardRow]:
    """Return the cards of those customers who have one."""
    rows = connection.execute(select(CARD).where(CARD.c.customer_id.in_(customer_ids)))
    return {row.customer_id: CardRow(*row) for row in rows}


def payment_by_card(connection: Connection, payment_id: str) -> CardPaymentRow | None:
    """Return what is known of a payment by card; None for one from the ledger, or none at all."""
    row = connection.execute(_PAYMENT, {"p": payment_id}).one_or_none()
    return None if row is None else CardPaymentRow(*row)


def name_intent(connection: Connection, payment_id: str, intent_id: str) -> CardPaymentRow:
    """Note what the gateway calls a payment, unless that is known or barred already; return how it stands."""
    connection.execute(_NAME, {"p": payment_id, "i": intent_id})
    return _known(connection, payment_id)


def bar(connection: Connection, payment_id: str) -> CardPaymentRow:
    """Keep a payment from ever getting a name, unless it has one; return how it stands."""
    connection.execute(_BAR, {"p": payment_id})
    return _known(connection, payment_id)


def authorise_card(connection: Connection, claim: PaymentClaim, context: Context) -> None:
    """Book the money that the customer's card is to hold; raises Refused `payment-declined` without one."""
    customer_id, amount = claim.customer_id, claim.payment_amt
    card = cards_of(connection, [customer_id]).get(customer_id)
    if card is None:
        raise Refused(
            "payment-declined",
            f"Customer {customer_id} has no card. Register one with PUT /api/v1/accounts/{customer_id}.",
            status=402,
        )
    if connection.execute(_PAY_IN, {"c": customer_id, "a": amount, "now": context.now}).rowcount == 0:
        detail = f"The account of {customer_id} can't count so much more."
        raise Refused("payment-declined", detail, status=402)
    deposit = {
        "id": context.branch_id,
        "customer_id": customer_id,
        "delta": amount,
        "created_at": context.now,
    }
    connection.execute(DEPOSIT.insert(), deposit)
    row = CardPaymentRow(context.branch_id, card.method, card.holder, None, False, context.now)
    connection.execute(CARD_PAYMENT.insert(), row._asdict())


def void_card(connection: Connection, claim: PaymentClaim, context: Context) -> None:
    """Take the money that the card held out of the books again; one from the ledger is given free there."""
    void(connection, claim, context)
    if payment_by_card(connection, context.branch_id) is not None:
        connection.execute(_PAY_OUT, {"c": claim.customer_id, "a": claim.payment_amt})
        connection.execute(_NEVER_PAID_IN, {"p": context.branch_id})


def _known(connection: Connection, payment_id: str) -> CardPaymentRow:
    row = payment_by_card(connection, payment_id)
    assert row is not None, f"payment {payment_id} was tried at the gateway and is not in the books"
    return row


_A: Final[BindParameter[int]] = bindparam("a", type_=BigInteger())
_OF_CUSTOMER: Final = ACCOUNT.c.customer_id == bindparam("c")
_OF_PAYMENT: Final = CARD_PAYMENT.c.payment_id == bindparam("p")
_UNNAMED: Final = CARD_PAYMENT.c.intent_id.is_(None)

_PAYMENT: Final = select(CARD_PAYMENT).where(_OF_PAYMENT)
_NAME: Final = (
    update(CARD_PAYMENT)
    .where(_OF_PAYMENT, _UNNAMED, CARD_PAYMENT.c.barred.is_(False))
    .values(intent_id=bindparam("i"))
)
_BAR: Final = update(CARD_PAYMENT).where(_OF_PAYMENT, _UNNAMED).values(barred=True)
_PAY_IN: Final = (
    update(ACCOUNT)
    .where(_OF_CUSTOMER, ACCOUNT.c.balance + ACCOUNT.c.captured + _A <= MAX_MONEY)
    .values(
        balance=ACCOUNT.c.balance + _A,
        held=ACCOUNT.c.held + _A,
        version=ACCOUNT.c.version + 1,
        updated_at=bindparam("now"),
    )
)
_PAY_OUT: Final = update(ACCOUNT).where(_OF_CUSTOMER).values(balance=ACCOUNT.c.balance - _A)
_NEVER_PAID_IN: Final = delete(DEPOSIT).where(DEPOSIT.c.id == bindparam("p"))
