"""Retry policies as they are written in settings."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messaging.retry import Retry


def waits(text: str, count: int) -> list[float]:
    retry = Retry.parse(text)
    return [retry.wait(attempt, random.Random(1)) for attempt in range(1, count + 1)]


def test_the_default_is_four_deliveries_a_second_apart() -> None:
    retry = Retry.parse("fixed:1s,3")
    assert retry.deliveries == 4
    assert waits("fixed:1s,3", 3) == [1.0, 1.0, 1.0]


def test_exponential_grows_up_to_its_cap() -> None:
    assert Retry.parse("exponential:1s,2.0,10s,6").deliveries == 7
    assert waits("exponential:1s,2.0,10s,6", 6) == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("duration", "seconds"), [("100ms", 0.1), ("1s", 1.0), ("2m", 120.0), ("1.5s", 1.5), ("60m", 3600.0)]
)
def test_durations(duration: str, seconds: float) -> None:
    assert waits(f"fixed:{duration},1", 1) == [pytest.approx(seconds)]


@given(seed=st.integers(), attempt=st.integers(1, 50))
def test_jitter_lies_between_half_and_the_whole(seed: int, attempt: int) -> None:
    plain = Retry.parse("exponential:100ms,1.7,9s,50")
    jittered = Retry.parse("exponential:100ms,1.7,9s,50+jitter")
    whole = plain.wait(attempt, random.Random(seed))
    assert whole / 2 <= jittered.wait(attempt, random.Random(seed)) <= whole
    assert jittered.wait(attempt, random.Random(seed)) == jittered.wait(attempt, random.Random(seed))


def test_no_retries_is_a_policy_too() -> None:
    assert Retry.parse("fixed:1s,0").deliveries == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fixed",
        "fixed:1s",
        "fixed:1,3",
        "fixed:1h,3",
        "fixed:0s,3",
        "fixed:-1s,3",
        "fixed:1s,-3",
        "fixed:1s,3.5",
        "fixed:1s,1001",
        "fixed:61m,1",
        "fixed:1s,3,4",
        "exponential:1s,2.0,10s",
        "exponential:1s,0.5,10s,6",
        "exponential:1s,nan,10s,6",
        "exponential:10s,2.0,1s,6",
        "linear:1s,3",
        "fixed:1s,3+noise",
        "fixed:1s,3+jitter+jitter",
    ],
)
def test_what_is_no_policy_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"fixed:1s,3"):
        Retry.parse(text)
