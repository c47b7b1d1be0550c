"""The rules of payment, without a database."""

import pytest

from payment_service.domain import MAX_MONEY, NO_FUNDS, Funds, declined, rebalanced, refund_amount
from shared.errors import Refused

FUNDS = Funds(balance=100, held=40, captured=30, refunded=10)


def test_what_was_deposited_counts_captures_and_refunds() -> None:
    assert FUNDS.deposited == 120
    assert FUNDS.available == 60


def test_a_new_balance_leaves_everything_else() -> None:
    assert rebalanced(FUNDS, 40) == Funds(balance=40, held=40, captured=30, refunded=10)


def test_a_balance_below_what_is_held_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        rebalanced(FUNDS, 39)
    assert (refused.value.slug, refused.value.status) == ("below-held", 409)


def test_a_balance_beyond_what_can_be_counted_is_refused() -> None:
    assert rebalanced(NO_FUNDS, MAX_MONEY).balance == MAX_MONEY
    with pytest.raises(Refused) as refused:
        rebalanced(FUNDS, MAX_MONEY)
    assert (refused.value.slug, refused.value.status) == ("too-much-money", 409)


@pytest.mark.parametrize(
    ("funds", "says"),
    [
        (None, "no account"),
        (FUNDS, "less than 61"),
        (Funds(balance=90, held=0, captured=MAX_MONEY, refunded=0), "more captures"),
    ],
)
def test_a_declined_payment_says_why(funds: Funds | None, says: str) -> None:
    refused = declined("ada", 61, funds)
    assert (refused.slug, refused.status) == ("payment-declined", 402)
    assert says in refused.detail


def test_a_refund_without_an_amount_is_all_that_is_left() -> None:
    assert refund_amount("p", captured=50, refunded=20, wanted=None) == 30


@pytest.mark.parametrize(
    ("captured", "refunded", "wanted"), [(50, 20, 31), (50, 50, None), (50, 50, 1), (0, 0, None)]
)
def test_a_refund_of_more_than_is_left_is_refused(captured: int, refunded: int, wanted: int | None) -> None:
    with pytest.raises(Refused) as refused:
        refund_amount("p", captured, refunded, wanted)
    assert (refused.value.slug, refused.value.status) == ("refund-exceeds-capture", 409)
