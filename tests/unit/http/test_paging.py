import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Refused
from shared.http.paging import decode_cursor, encode_cursor

NAMES = st.text('abc\x00\n "\\/-_\u00e9\U0001f600', max_size=64)
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
    for place in (("a", 1), (1,), (1, "a", "b"), (True, "a"), (2**63, "a")):
        with pytest.raises(Refused):
            decode_cursor(encode_cursor(*place), int, str)
