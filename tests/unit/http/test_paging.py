import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Refused
from shared.http.paging import decode_cursor, encode_cursor, page_from

NAMES = st.text('abc\n "\\/-_\u00e9\U0001f600', max_size=64)
PLACES = st.tuples(st.integers(-(2**63) + 1, 2**63 - 1), NAMES)


@given(PLACES)
def test_a_cursor_leads_back_to_its_place(place: tuple[int, str]) -> None:
    cursor = encode_cursor(*place)
    assert decode_cursor(cursor, int, str) == place
    assert cursor.replace("-", "").replace("_", "").isalnum()


def test_no_cursor_is_the_beginning() -> None:
    assert decode_cursor(None, int, str) is None


@given(st.text(max_size=200))
def test_what_no_list_wrote_is_refused(cursor: str) -> None:
    with pytest.raises(Refused) as refusal:
        # Random text never is a cursor of five keys.
        decode_cursor(cursor, int, str, int, str, int)
    assert (refusal.value.status, refusal.value.slug) == (422, "invalid-request")


def test_another_lists_cursor_is_refused() -> None:
    for place in (("a", 1), (1,), (1, "a", "b"), (True, "a"), (2**63, "a"), (1, "a\x00")):
        with pytest.raises(Refused):
            decode_cursor(encode_cursor(*place), int, str)


@given(st.sets(NAMES), st.integers(1, 5))
def test_page_after_page_shows_every_item_once(names: set[str], limit: int) -> None:
    items, seen, cursor = sorted(names), [], None
    while True:
        (after,) = decode_cursor(cursor, str) or (None,)
        found = [name for name in items if after is None or name > after][: limit + 1]
        page = page_from(found, limit, lambda name: name, str.upper)
        assert len(page["items"]) <= limit
        seen += page["items"]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == [name.upper() for name in items]
