"""When the embedded broker is renewed."""

import pytest

from cli.broker import AT_LEAST_SECONDS, Renewal

LATER = AT_LEAST_SECONDS


def test_a_broker_that_holds_too_much_is_renewed() -> None:
    renewal = Renewal(100)
    assert not renewal.due(1, 20.0, 0.0)
    assert not renewal.due(1, 99.0, LATER)
    assert renewal.due(1, 100.0, LATER + 5)
    assert not renewal.due(1, 100.0, LATER + 10), "it is ending already"


def test_an_idle_one_is_renewed_at_half_of_that() -> None:
    renewal = Renewal(100)
    assert not renewal.due(1, 40.0, 0.0)
    assert not renewal.due(1, 60.0, LATER)
    assert not renewal.due(1, 61.0, LATER + 5)
    assert renewal.due(1, 61.0, LATER + 10)


def test_an_idle_one_that_holds_little_is_left_alone() -> None:
    renewal = Renewal(100)
    for look in range(100):
        assert not renewal.due(1, 49.0, look * 5.0)


def test_a_new_one_lives_for_a_while_whatever_it_holds() -> None:
    renewal = Renewal(100)
    assert not renewal.due(1, 500.0, 0.0)
    assert renewal.due(1, 500.0, LATER)
    assert not renewal.due(2, 500.0, LATER + 5)
    assert renewal.due(2, 500.0, 2 * LATER + 5)


@pytest.mark.parametrize("mib", [1.0, 1e6])
def test_without_a_limit_it_is_never_renewed(mib: float) -> None:
    renewal = Renewal(0)
    assert not any(renewal.due(1, mib, look * 5.0) for look in range(100))
