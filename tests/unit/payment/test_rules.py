"""Authorise, capture, void and refund, over a database in memory."""

import json
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import Connection, func, select

from payment_service import accounts
from payment_service.domain import MAX_MONEY
from payment_service.participant import PaymentClaim, authorise, capture, message_key, void
from payment_service.tables import ACCOUNT, CAPTURE, DEPOSIT, REFUND
from shared.database.inline import InlineDatabase
from shared.errors import NotFound, Refused
from shared.tcc.participant import Context, Rule


class Bank:
    """A few verbs on a database of accounts."""

    def __init__(self, database: InlineDatabase) -> None:
        self.database = database
        self._made = 0

    def new_id(self) -> str:
        self._made += 1
        return f"{self._made:06d}"

    def put(self, customer_id: str, balance: int) -> tuple[accounts.AccountRow, bool]:
        deposit_id = self.new_id()
        return self.database.write_now(
            lambda connection: accounts.put(connection, customer_id, balance, deposit_id=deposit_id, now=1)
        )

    def do(self, act: Rule[PaymentClaim], amount: int, branch_id: str = "b") -> None:
        claim = PaymentClaim(customer_id="ada", payment_amt=amount)
        self.database.write_now(lambda connection: act(connection, claim, Context(branch_id, None, 2)))

    def refund(self, payment_id: str, amount: int | None) -> accounts.RefundRow:
        refund_id = self.new_id()
        return self.database.write_now(
            lambda connection: accounts.refund(
                connection, payment_id, amount, "broken", refund_id=refund_id, now=3
            )
        )

    def funds(self, customer_id: str = "ada") -> tuple[int, int, int, int]:
        row = self.database.write_now(lambda connection: accounts.read(connection, customer_id))
        return row.balance, row.held, row.captured, row.refunded

    def total(self, column: Any) -> int:
        statement = select(func.coalesce(func.sum(column), 0))
        return int(self.database.write_now(lambda connection: connection.execute(statement).scalar_one()))


@pytest.fixture
def bank(database: InlineDatabase) -> Bank:
    return Bank(database)


def slug_of(refused: pytest.ExceptionInfo[Refused]) -> tuple[str, int]:
    return refused.value.slug, refused.value.status


def test_money_is_held_then_captured(bank: Bank) -> None:
    bank.put("ada", 100)
    bank.do(authorise, 30)
    assert bank.funds() == (100, 30, 0, 0)
    bank.do(capture, 30)
    assert bank.funds() == (70, 0, 30, 0)


def test_voided_money_is_available_again(bank: Bank) -> None:
    bank.put("ada", 100)
    bank.do(authorise, 100)
    bank.do(void, 100)
    assert bank.funds() == (100, 0, 0, 0)
    bank.do(authorise, 100)


def test_more_than_is_available_is_declined(bank: Bank) -> None:
    bank.put("ada", 100)
    bank.do(authorise, 80)
    with pytest.raises(Refused) as refused:
        bank.do(authorise, 21)
    assert slug_of(refused) == ("payment-declined", 402)
    assert bank.funds() == (100, 80, 0, 0)


@pytest.mark.parametrize("amount", [0, 1])
def test_a_customer_without_an_account_is_declined(bank: Bank, amount: int) -> None:
    with pytest.raises(Refused) as refused:
        bank.do(authorise, amount)
    assert slug_of(refused) == ("payment-declined", 402)


def test_an_account_that_can_count_no_more_declines(bank: Bank) -> None:
    bank.put("ada", MAX_MONEY)
    bank.do(authorise, MAX_MONEY)
    bank.do(capture, MAX_MONEY)
    bank.refund("b", 1)
    with pytest.raises(Refused) as refused:
        bank.do(authorise, 1, "c")
    assert slug_of(refused) == ("payment-declined", 402)


def test_a_balance_below_what_is_held_is_refused(bank: Bank) -> None:
    bank.put("ada", 100)
    bank.do(authorise, 30)
    with pytest.raises(Refused) as refused:
        bank.put("ada", 29)
    assert slug_of(refused) == ("below-held", 409)
    bank.put("ada", 30)
    assert bank.funds() == (30, 30, 0, 0)


def test_a_balance_is_set_not_added(bank: Bank) -> None:
    assert [bank.put("ada", balance)[1] for balance in (100, 40, 40)] == [True, False, False]
    assert bank.funds() == (40, 0, 0, 0)
    assert bank.total(DEPOSIT.c.delta) == 40


def test_setting_the_same_balance_again_changes_nothing(bank: Bank) -> None:
    assert bank.put("ada", 100)[0] == bank.put("ada", 100)[0]


def test_a_refund_adds_to_balance_and_refunded(bank: Bank) -> None:
    bank.put("ada", 100)
    bank.do(authorise, 30)
    bank.do(capture, 30)
    assert bank.refund("b", 10).amount == 10
    assert bank.funds() == (80, 0, 30, 10)
    assert bank.refund("b", None).amount == 20
    assert bank.funds() == (100, 0, 30, 30)


def test_refunds_never_exceed_what_was_captured(bank: Bank) -> None:
    bank.put("ada", 100)
    for branch_id in ("b", "c"):
        bank.do(authorise, 30, branch_id)
        bank.do(capture, 30, branch_id)
    bank.refund("b", 20)
    for amount in (11, 30):
        with pytest.raises(Refused) as refused:
            bank.refund("b", amount)
        assert slug_of(refused) == ("refund-exceeds-capture", 409)
    bank.refund("b", None)
    with pytest.raises(Refused):
        bank.refund("b", None)
    assert bank.funds() == (70, 0, 60, 30)


def test_an_unknown_payment_is_not_refunded(bank: Bank) -> None:
    with pytest.raises(NotFound):
        bank.refund("nobody", 1)


def test_money_is_conserved(bank: Bank) -> None:
    bank.put("ada", 100)
    bank.do(authorise, 30)
    bank.do(capture, 30)
    bank.refund("b", 10)
    bank.do(authorise, 5, "c")
    bank.put("ada", 60)
    balance, _, captured, refunded = bank.funds()
    assert balance + captured - refunded == bank.total(DEPOSIT.c.delta)
    assert captured == bank.total(CAPTURE.c.amount)
    assert refunded == bank.total(CAPTURE.c.refunded) == bank.total(REFUND.c.amount)


def test_the_database_itself_refuses_to_hold_more_than_there_is(bank: Bank) -> None:
    from sqlalchemy.exc import IntegrityError

    bank.put("ada", 1)

    def overdraw(connection: Connection) -> None:
        connection.execute(ACCOUNT.update().values(held=2))

    with pytest.raises(IntegrityError):
        bank.database.write_now(overdraw)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"paymentAmt": -1},
        {"paymentAmt": "1"},
        {"paymentAmt": True},
        {"paymentAmt": 1.5},
        {"paymentAmt": MAX_MONEY + 1},
        {"paymentAmt": 1, "customerId": ""},
        {"paymentAmt": 1, "customerId": "a/b"},
        {"paymentAmt": 1, "orderId": 7},
        {"paymentAmt": 1, "payment_amt": 1},
        {"paymentAmt": 1, "currency": "EUR"},
    ],
)
def test_a_malformed_claim_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PaymentClaim.model_validate_json(json.dumps(body))


def test_a_confirm_travels_under_its_customer() -> None:
    assert message_key("b", PaymentClaim(payment_amt=1)) == "guest"
