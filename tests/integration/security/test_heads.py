"""Heads that no client library would send: each is answered 401, as a whole problem, and by nothing else."""

import pytest

from tests.integration.hostile.programs import Programs
from tests.integration.hostile.wire import Headers
from tests.integration.security.bearers import operator

TOKEN = operator()["Authorization"].removeprefix("Bearer ")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("Authorization", f"Bearer {TOKEN}"), ("Authorization", f"Bearer {TOKEN}")], id="two"),
        pytest.param([("authorization", "Basic YTpi"), ("Authorization", f"Bearer {TOKEN}")], id="two sorts"),
        pytest.param([("Authorization", f"Bearer {TOKEN}, Bearer {TOKEN}")], id="a list"),
        pytest.param([("Authorization", f"Bearer\t{TOKEN}")], id="a tab"),
        pytest.param([("Authorization", f"Bearer {TOKEN}\x00")], id="a NUL"),
        pytest.param([("Authorization", b"Bearer \xff\xfe")], id="no ASCII"),
        pytest.param([("Authorization", "Bearer " + "a" * 30_000)], id="endless"),
        pytest.param([("Authorization", "Bearer " + ".".join(["a" * 2_000] * 3))], id="long and empty"),
        pytest.param([("Authorization", f"Token {TOKEN}")], id="another scheme"),
        pytest.param([("X-Authorization", f"Bearer {TOKEN}")], id="another header"),
        pytest.param([("Cookie", f"Authorization=Bearer {TOKEN}")], id="a cookie"),
    ],
)
def test_a_head_that_proves_nothing_is_refused(programs: Programs, headers: Headers) -> None:
    answer = programs.send("GET", "coordinator", "/transactions", headers=headers)
    # A head that is none is refused by the server itself, before anybody is asked.
    assert answer.status in (400, 401), answer
    if answer.status == 401:
        assert answer.slug in ("unauthenticated", "invalid-token")
        assert TOKEN not in answer.body.decode()


def test_a_token_in_the_query_is_none(programs: Programs) -> None:
    answer = programs.send("GET", "coordinator", f"/transactions?access_token={TOKEN}")
    assert answer.told == (401, "unauthenticated")


def test_a_body_is_not_read_before_its_sender_is_known(programs: Programs) -> None:
    answer = programs.send("POST", "order", "/orders", b"{" * 1_000_000)
    assert answer.told == (401, "unauthenticated")
