"""The verdict table is total, and says what the protocol says."""

import itertools

import pytest

from shared.tcc.protocol import VERDICTS, Phase, Sort, State, Verdict, sort_answer


def test_every_pair_of_state_and_phase_has_its_verdict() -> None:
    assert set(VERDICTS) == set(itertools.product(State, Phase))


def test_every_verdict_is_used() -> None:
    assert set(VERDICTS.values()) == set(Verdict)


def test_a_decision_is_never_turned_round() -> None:
    for state in (State.CONFIRMING, State.CONFIRMED):
        assert VERDICTS[state, Phase.CANCEL] is Verdict.CONFLICT
    for state in (State.CANCELLING, State.CANCELLED):
        assert VERDICTS[state, Phase.CONFIRM] is Verdict.CONFLICT
        assert VERDICTS[state, Phase.TRY] is Verdict.REFUSE


def test_only_what_is_absent_is_tried() -> None:
    applied = {state for state in State if VERDICTS[state, Phase.TRY] is Verdict.APPLY}

    assert applied == {State.ABSENT}


def test_only_what_was_tried_is_confirmed() -> None:
    applied = {state for state in State if VERDICTS[state, Phase.CONFIRM] is Verdict.APPLY}

    assert applied == {State.TRIED, State.CONFIRMING}


def test_final_states_only_repeat() -> None:
    assert VERDICTS[State.CONFIRMED, Phase.CONFIRM] is Verdict.REPEAT
    assert VERDICTS[State.CANCELLED, Phase.CANCEL] is Verdict.REPEAT


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_is_of_one_sort(status: int) -> None:
    if 200 <= status < 300 and status != 202:
        assert sort_answer(status) is Sort.DONE
    elif 400 <= status < 500 and status not in {408, 425, 429}:
        assert sort_answer(status) is Sort.REFUSED
    else:
        assert sort_answer(status) is Sort.UNKNOWN
