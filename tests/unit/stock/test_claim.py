"""What a claim of stock may look like, and what it becomes."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from stock_service.claim import StockClaim, message_key
from stock_service.domain import MAX_LINES, Line


def claimed(**body: Any) -> StockClaim:
    return StockClaim.model_validate_json(json.dumps(body))


def test_one_product_becomes_one_item() -> None:
    claim = claimed(productId="p", qty=2, orderId="o")
    assert claim.lines == (Line("p", 2),)
    assert json.loads(claim.model_dump_json()) == {
        "items": [{"productId": "p", "qty": 2}],
        "customerId": "guest",
        "orderId": "o",
    }


def test_items_of_one_product_are_added_up_and_sorted() -> None:
    items = [{"productId": "b", "qty": 1}, {"productId": "a", "qty": 2}, {"productId": "b", "qty": 3}]
    assert claimed(items=items).lines == (Line("a", 2), Line("b", 4))


def test_claims_that_mean_the_same_are_written_the_same() -> None:
    one = claimed(productId="p", qty=5)
    other = claimed(items=[{"productId": "p", "qty": 2}, {"productId": "p", "qty": 3}])
    assert one.model_dump_json() == other.model_dump_json()
    assert StockClaim.model_validate_json(one.model_dump_json()) == one


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"productId": "p"},
        {"qty": 1},
        {"productId": "p", "qty": 1, "items": [{"productId": "p", "qty": 1}]},
        {"productId": "p", "items": [{"productId": "p", "qty": 1}]},
        {"items": []},
        {"items": [{"productId": f"p{number}", "qty": 1} for number in range(MAX_LINES + 1)]},
        {"items": [{"productId": "p", "qty": 1, "price": 1}]},
        {"productId": "p", "qty": 0},
        {"productId": "p", "qty": -1},
        {"productId": "p", "qty": 10**9 + 1},
        {"items": [{"productId": "p", "qty": 10**9}, {"productId": "p", "qty": 1}]},
        {"productId": "p", "qty": "1"},
        {"productId": "p", "qty": True},
        {"productId": "p", "qty": 1.5},
        {"productId": "p q", "qty": 1},
        {"productId": "p\n", "qty": 1},
        {"productId": "", "qty": 1},
        {"productId": "p" * 65, "qty": 1},
        {"productId": "p", "qty": 1, "customerId": None},
        {"productId": "p", "qty": 1, "product_id": "q"},
        {"productId": "p", "qty": 1, "colour": "red"},
    ],
)
def test_a_malformed_claim_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        claimed(**body)


def test_a_confirm_travels_under_its_product_or_under_its_branch() -> None:
    assert message_key("b", claimed(productId="p", qty=1)) == "p"
    assert (
        message_key("b", claimed(items=[{"productId": "p", "qty": 1}, {"productId": "q", "qty": 1}])) == "b"
    )
