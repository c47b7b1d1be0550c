"""The rules of stock, without a database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Refused
from stock_service.domain import (
    MAX_UNITS,
    NOTHING,
    Level,
    Line,
    Shelf,
    adjusted,
    limit_reached,
    merge,
    refusal,
)

LINES = st.lists(st.builds(Line, st.sampled_from("abcde"), st.integers(1, 10**9)), max_size=30)


@given(LINES)
def test_merging_keeps_the_units_of_every_product(lines: list[Line]) -> None:
    merged = merge(lines)
    for product_id in "abcde":
        assert sum(line.qty for line in merged if line.product_id == product_id) == sum(
            line.qty for line in lines if line.product_id == product_id
        )


@given(LINES)
def test_merged_lines_name_a_product_once_and_are_sorted(lines: list[Line]) -> None:
    products = [line.product_id for line in merge(lines)]
    assert products == sorted(set(products))
    assert merge(merge(lines)) == merge(lines)


def test_an_adjustment_changes_only_what_is_on_hand() -> None:
    assert adjusted(Level(on_hand=5, held=2, sold=7), -3) == Level(on_hand=2, held=2, sold=7)
    assert adjusted(NOTHING, 4) == Level(on_hand=4, held=0, sold=0)


def test_an_adjustment_below_what_is_held_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        adjusted(Level(on_hand=5, held=2, sold=0), -4)
    assert (refused.value.slug, refused.value.status) == ("below-held", 409)


def test_an_adjustment_beyond_what_can_be_counted_is_refused() -> None:
    assert adjusted(Level(on_hand=0, held=0, sold=1), MAX_UNITS - 1).on_hand == MAX_UNITS - 1
    with pytest.raises(Refused) as refused:
        adjusted(Level(on_hand=0, held=0, sold=1), MAX_UNITS)
    assert (refused.value.slug, refused.value.status) == ("too-many-units", 409)


@pytest.mark.parametrize(
    ("shelf", "slug", "status"),
    [
        (None, "unknown-product", 422),
        (Shelf(Level(9, 0, 0), None, frozen=True, version=1), "product-frozen", 409),
        (Shelf(Level(9, 7, 0), None, frozen=False, version=1), "insufficient-stock", 409),
    ],
)
def test_a_refused_line_says_why(shelf: Shelf | None, slug: str, status: int) -> None:
    refused = refusal(Line("p", 3), shelf)
    assert (refused.slug, refused.status) == (slug, status)
    assert refused.extra["productId"] == "p"


def test_a_refusal_for_lack_of_stock_says_what_is_available() -> None:
    assert refusal(Line("p", 3), Shelf(Level(9, 7, 0), None, frozen=False, version=1)).extra["available"] == 2


def test_a_reached_limit_says_what_is_left_of_it() -> None:
    assert limit_reached(Line("p", 3), 5, 4).extra["left"] == 1
    assert limit_reached(Line("p", 3), 5, 9).extra["left"] == 0
