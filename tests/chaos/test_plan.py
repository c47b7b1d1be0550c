"""The plan of chaos is drawn from its seed alone, and has everything in it."""

import pytest

from tests.chaos.plan import (
    ALL,
    DATABASE,
    DEADLY,
    ON_LINKS,
    SHORT,
    SUBJECTS,
    Form,
    Kind,
    draw,
    long_form,
    subjects_of,
)

LEASE = 5.0
"""Seconds of the driver's lease."""


@pytest.mark.parametrize("form", [SHORT, long_form(5)])
def test_a_seed_gives_the_same_plan_and_another_seed_another(form: Form) -> None:
    assert draw(7, form) == draw(7, form)
    assert draw(7, form) != draw(8, form)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_of_trouble_comes_and_is_over_in_time(seed: int) -> None:
    for form in (SHORT, long_form(0.5), long_form(5)):
        plan = draw(seed, form)
        assert {trouble.kind for trouble in plan} == set(Kind)
        assert all(one.at >= 0 and one.at + one.seconds <= form.seconds for one in plan)
        assert list(plan) == sorted(plan, key=lambda one: one.at)


@pytest.mark.parametrize("seed", range(20))
def test_the_long_form_strikes_everybody_in_every_way(seed: int) -> None:
    plan = draw(seed, long_form(5))
    for kind in Kind:
        assert {one.subject for one in plan if one.kind is kind} == set(SUBJECTS[kind])


def test_a_server_with_the_data_is_struck_as_everybody_else_and_so_is_every_instance() -> None:
    whom = subjects_of(on_server=True, instances=2)
    plan = [one for seed in range(20) for one in draw(seed, long_form(5), whom)]
    for kind in Kind:
        struck = {one.subject for one in plan if one.kind is kind}
        assert struck == set(whom[kind])
        assert (DATABASE in struck) == (kind is not Kind.BLACKOUT)
    assert {"order-1", "order-2"} <= {one.subject for one in plan if one.kind is Kind.KILL}


def test_pauses_outlast_three_leases_and_in_the_short_form_one() -> None:
    for form, leases in ((SHORT, 1), (long_form(5), 3)):
        pauses = [one for seed in range(20) for one in draw(seed, form) if one.kind is Kind.PAUSE]
        assert all(pause.seconds > leases * LEASE for pause in pauses)
        assert {pause.subject for pause in pauses} == set(SUBJECTS[Kind.PAUSE])


def test_only_pauses_and_troubles_on_links_last() -> None:
    for one in draw(1, long_form(5)):
        assert (one.seconds > 0) == (one.kind is Kind.PAUSE or one.kind in ON_LINKS)


@pytest.mark.parametrize("seed", range(20))
def test_most_pauses_are_not_ended_by_a_kill(seed: int) -> None:
    for form in (SHORT, long_form(5)):
        plan = draw(seed, form)
        pauses = [one for one in plan if one.kind is Kind.PAUSE]
        whole = [
            pause
            for pause in pauses
            if not any(
                one.kind in DEADLY
                and one.subject in (pause.subject, ALL)
                and pause.at <= one.at <= pause.at + pause.seconds
                for one in plan
            )
        ]
        assert len(whole) >= 0.8 * len(pauses)
