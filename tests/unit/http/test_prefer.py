import pytest
from starlette.requests import Request

from shared.http.prefer import wait_seconds


def request(*preferences: str) -> Request:
    headers = [(b"prefer", preference.encode("latin-1")) for preference in preferences]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("preferences", "seconds"),
    [
        ((), 0),
        (("wait=10",), 10),
        (("wait=0",), 0),
        (("wait=30",), 30),
        (("wait=31",), 30),
        (("wait=99999999999999999999",), 30),
        (("WAIT = 5",), 5),
        (('wait="7"',), 7),
        (("respond-async, wait=4",), 4),
        (("respond-async", "wait=4"), 4),
        (("wait=3, wait=9",), 3),
        (('foo="a, wait=9"; bar, wait=2',), 2),
        (('foo="a\\", wait=9", wait=2',), 2),
        (("wait=6; foo=bar",), 6),
        (("handling=lenient;; wait=1, wait=5",), 5),
    ],
)
def test_the_wait_preference_is_read_as_the_rfc_says(preferences: tuple[str, ...], seconds: float) -> None:
    assert wait_seconds(request(*preferences)) == seconds


@pytest.mark.parametrize(
    "preference",
    ["wait", "wait=", "wait=x", "wait=-1", "wait=1.5", "wait=\xb2", "waits=5", "=5", '"', ",,,", "wait=5 5"],
)
def test_a_preference_that_cant_be_understood_is_ignored(preference: str) -> None:
    assert wait_seconds(request(preference)) == 0


def test_an_unreadable_preference_does_not_hide_the_next_one() -> None:
    assert wait_seconds(request('@@@, foo="open, wait=5')) == 5
