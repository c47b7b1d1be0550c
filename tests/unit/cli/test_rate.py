"""A rate of replays, on a clock of its own: spread evenly, and no second with more than its share."""

import random
from collections import deque

import pytest

from cli.rate import Rate


def published(rate: Rate, requests: float, delays: random.Random, seconds: float) -> list[float]:
    """Send what is due for so long, eight requests in flight; return when each letter was published.

    requests: how late an answer may be, at most. A letter is published at any time before its answer.
    """
    now, moments = 0.0, list[float]()
    answers: deque[tuple[float, int]] = deque()
    while now < seconds:
        for answer in [one for one in answers if one[0] <= now]:
            answers.remove(answer)
            rate.answer(answer[1], now)
        while len(answers) < 8 and (count := rate.due(now)):
            rate.ask(count, now)
            late = delays.uniform(0.0, requests)
            answers.append((now + late, count))
            moments += [now + delays.uniform(0.0, late) for _ in range(count)]
        now += 0.005
    return sorted(moments)


def busiest(moments: list[float], seconds: float) -> int:
    """Return how many fall into the busiest so many seconds, wherever those begin."""
    return max(
        sum(first <= one < first + seconds for one in moments[place:]) for place, first in enumerate(moments)
    )


@pytest.mark.parametrize("per_second", [1.0, 7.0, 20.0, 33.0, 200.0])
@pytest.mark.parametrize("late", [0.001, 0.3, 2.5])
def test_no_second_has_more_than_its_share_however_late_the_answers_are(
    per_second: float, late: float
) -> None:
    moments = published(Rate(per_second, 100, 0.0), late, random.Random(7), 12.0)
    assert 0 < busiest(moments, 1.0) <= per_second


@pytest.mark.parametrize(("per_second", "share", "span"), [(0.5, 1, 2.0), (1.5, 2, 2 / 1.5), (2.5, 3, 1.2)])
def test_a_rate_that_is_no_whole_number_is_kept_over_more_than_a_second(
    per_second: float, share: int, span: float
) -> None:
    moments = published(Rate(per_second, 100, 0.0), 0.001, random.Random(7), 60.0)
    assert busiest(moments, span - 1e-6) == share
    assert len(moments) > 0.9 * 60 * per_second


@pytest.mark.parametrize("per_second", [7.0, 33.0, 200.0, 900.0])
def test_the_rate_is_reached_where_answers_are_prompt(per_second: float) -> None:
    moments = published(Rate(per_second, 100, 0.0), 0.05, random.Random(7), 10.0)
    assert len(moments) > 0.9 * 10 * per_second


def test_letters_are_spread_over_the_second() -> None:
    rate = Rate(200.0, 100, 0.0)
    assert rate.due(0.0) == 20
    rate.ask(20, 0.0)
    assert rate.due(0.05) == 0
    assert rate.due(0.1) == 20


def test_what_was_missed_is_made_up_for_by_no_more_than_a_tenth_of_a_second() -> None:
    rate = Rate(200.0, 100, 0.0)
    sent = 0
    while count := rate.due(5.0):
        rate.ask(count, 5.0)
        sent += count
    assert sent == 40


def test_without_a_rate_every_request_is_full() -> None:
    rate = Rate(None, 100, 0.0)
    for _ in range(3):
        assert rate.due(0.0) == 100
        rate.ask(100, 0.0)
