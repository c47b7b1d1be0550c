"""The circuit breaker: when it opens, what it lets through then, and when it closes."""

import pytest

from coordinator.breaker import FIRST_PAUSE, LONGEST_PAUSE, UNANSWERED, Breaker, Pass


@pytest.fixture
def opened() -> Breaker:
    """A breaker that opened at 0 s."""
    breaker = Breaker()
    for number in range(UNANSWERED):
        breaker.unanswered(Pass.CALL, f"branch-{number}", 0.0)
    return breaker


def test_it_lets_everything_through_while_it_is_answered() -> None:
    breaker = Breaker()
    for number in range(2 * UNANSWERED):
        assert breaker.admit(0.0) is Pass.CALL
        breaker.unanswered(Pass.CALL, f"branch-{number}", 0.0)
        assert breaker.answered() is False
    assert not breaker.open


def test_one_branch_alone_does_not_open_it() -> None:
    breaker = Breaker()
    for _ in range(10 * UNANSWERED):
        breaker.unanswered(Pass.CALL, "branch", 0.0)
    assert not breaker.open


def test_once_open_it_lets_one_call_through_after_each_pause(opened: Breaker) -> None:
    assert opened.open
    assert opened.admit(FIRST_PAUSE / 2) is None
    assert opened.admit(FIRST_PAUSE) is Pass.PROBE
    assert opened.admit(FIRST_PAUSE) is None  # One probe at a time.


def test_the_pause_doubles_with_each_probe_up_to_the_longest(opened: Breaker) -> None:
    now, pauses = 0.0, []
    for _ in range(8):
        began = now
        while not opened.admits(now):
            now += 0.01
        pauses.append(now - began)
        assert opened.admit(now) is Pass.PROBE
        opened.unanswered(Pass.PROBE, "branch", now)
    assert pauses[:3] == pytest.approx([FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE], abs=0.02)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE, abs=0.02)


def test_an_answer_closes_it_also_one_to_an_earlier_call(opened: Breaker) -> None:
    assert opened.answered() is True
    assert opened.admit(0.0) is Pass.CALL
    assert opened.answered() is False


def test_calls_of_before_that_end_without_answer_put_no_probe_off(opened: Breaker) -> None:
    for number in range(100):
        opened.unanswered(Pass.CALL, f"late-{number}", FIRST_PAUSE / 2)
    assert opened.admit(FIRST_PAUSE) is Pass.PROBE


def test_a_probe_that_is_given_up_leaves_room_for_the_next(opened: Breaker) -> None:
    assert opened.admit(FIRST_PAUSE) is Pass.PROBE
    opened.abandoned(Pass.PROBE)
    assert opened.admit(FIRST_PAUSE) is Pass.PROBE
