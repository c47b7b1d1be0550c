"""What it means where coordinator and participant don't agree: a total table, and what is merely late."""

import itertools

import pytest

from coordinator.branch import Branch, BranchState
from coordinator.reconciliation import (
    ALARMS,
    ASKED_ABOUT,
    FINDINGS,
    REPAIRABLE,
    Kind,
    Patience,
    Seen,
    Standing,
    finding,
    judge,
    standing,
)
from coordinator.transaction import Mode, State, Transaction
from shared.tcc.protocol import State as Held

NOW = 1_000_000
OLD = NOW - 100_000
GRACE = Patience(60_000)


def transaction(
    state: State = State.CONFIRMING,
    *states: BranchState,
    initiator: str | None = None,
    at: int = OLD,
    deadline: int = OLD,
) -> Transaction:
    branches = [
        Branch(f"b{number}", f"p{number}", {}, state=one)
        for number, one in enumerate(states or (BranchState(state.value),), 1)
    ]
    decided = None if state in (State.TRYING, State.TRIED) else at
    return Transaction(
        "t", Mode.AUTO, state, 10_000, deadline, initiator, tuple(branches), "", at, at, decided_at=decided
    )


def seen(
    state: Held, *, owner: str | None = "t", at: int = OLD, expires: int = OLD, letter: bool = False
) -> Seen:
    return Seen("b1", None if state is Held.ABSENT else owner, state, expires, at, letter)


def test_every_pair_of_standing_and_state_is_judged() -> None:
    assert FINDINGS.keys() == set(itertools.product(Standing, Held))


def test_a_standing_is_a_branchs_own_state_or_that_it_is_not_there() -> None:
    assert set(Standing) - {"UNKNOWN", "STRANGE"} == {state.value for state in BranchState}


def test_every_kind_is_repaired_or_shown_to_a_person() -> None:
    assert set(Kind) == REPAIRABLE | ALARMS
    assert not REPAIRABLE & ALARMS
    assert set(FINDINGS.values()) - {None} == set(Kind) - {Kind.OTHERS_BRANCH}


def test_both_sides_agree_where_they_say_the_same() -> None:
    agreed = [
        (Standing.CONFIRMED, Held.CONFIRMED),
        (Standing.CANCELLED, Held.CANCELLED),
        (Standing.CANCELLED, Held.ABSENT),
        (Standing.REFUSED, Held.CANCELLED),
        (Standing.TRYING, Held.ABSENT),
    ]
    assert [FINDINGS[pair] for pair in agreed] == [None] * len(agreed)


def test_what_one_side_keeps_and_the_other_lets_go_is_never_repaired() -> None:
    keeping = {"CONFIRMING", "CONFIRMED"}
    letting_go = {"CANCELLING", "CANCELLED"}
    for (stands, state), kind in FINDINGS.items():
        if {stands.value, state.value} & keeping and {stands.value, state.value} & letting_go:
            assert kind is Kind.CONTRADICTION, (stands, state)
            assert kind in ALARMS


def test_nothing_is_confirmed_that_nobody_decided() -> None:
    undecided = set(Standing) - {
        Standing.CONFIRMING,
        Standing.CONFIRMED,
        Standing.CANCELLING,
        Standing.CANCELLED,
    }
    for stands in undecided:
        assert FINDINGS[stands, Held.CONFIRMED] is Kind.NOT_DECIDED


def test_only_what_must_be_there_is_asked_about() -> None:
    assert {
        Standing.TRIED,
        Standing.CONFIRMING,
        Standing.CONFIRMED,
        Standing.CANCELLING,
    } == ASKED_ABOUT


def test_a_transaction_that_was_unknown_once_has_every_branch_cancelled() -> None:
    tombstone = transaction(State.CANCELLED)._replace(branches=())
    assert standing(tombstone, "b1") is Standing.CANCELLED
    assert standing(transaction(), "other") is Standing.STRANGE
    assert standing(None, "b1") is Standing.UNKNOWN


@pytest.mark.parametrize(
    ("one", "there", "kind"),
    [
        (transaction(), seen(Held.TRIED), Kind.NOT_APPLIED),
        (transaction(), seen(Held.CONFIRMED), Kind.UNACKNOWLEDGED),
        (transaction(State.CONFIRMED), seen(Held.TRIED), Kind.ROLLED_BACK),
        (transaction(State.CONFIRMED), seen(Held.ABSENT), Kind.ABSENT),
        (transaction(State.CONFIRMED), seen(Held.CANCELLED), Kind.CONTRADICTION),
        (transaction(State.CANCELLED), seen(Held.TRIED), Kind.STILL_HELD),
        (transaction(State.CANCELLED), seen(Held.CONFIRMED), Kind.CONTRADICTION),
        (transaction(State.TRYING, deadline=OLD), seen(Held.TRIED), Kind.DANGLING),
        (transaction(State.TRIED), seen(Held.ABSENT), Kind.HOLD_LOST),
        (transaction(State.CONFIRMED), seen(Held.CONFIRMED, owner="other"), Kind.OTHERS_BRANCH),
        (transaction(State.CONFIRMED), seen(Held.CONFIRMED, owner=None), Kind.OTHERS_BRANCH),
        (None, seen(Held.TRIED), Kind.UNKNOWN),
        (None, seen(Held.CONFIRMED), Kind.NOT_DECIDED),
    ],
    ids=lambda value: value.value if isinstance(value, Kind) else "",
)
def test_what_is_old_enough_is_found(one: Transaction | None, there: Seen, kind: Kind) -> None:
    assert finding(one, there) is kind
    assert judge(one, there, NOW, GRACE) is kind


@pytest.mark.parametrize(
    ("one", "there"),
    [
        (transaction(at=NOW - 60_000), seen(Held.TRIED)),
        (transaction(), seen(Held.TRIED, at=NOW - 60_000)),
        (transaction(State.CONFIRMED, at=NOW - 60_000), seen(Held.TRIED)),
        (transaction(State.TRYING, deadline=NOW - 60_000), seen(Held.TRIED)),
        (None, seen(Held.TRIED, expires=NOW - 60_000)),
        (None, seen(Held.CONFIRMED, at=NOW - 60_000)),
    ],
)
def test_what_is_younger_than_the_grace_time_is_late(one: Transaction | None, there: Seen) -> None:
    assert finding(one, there) is not None
    assert judge(one, there, NOW, GRACE) is None
    assert judge(one, there, NOW + 1, GRACE) is not None


def test_a_confirm_under_an_open_letter_is_late() -> None:
    assert judge(transaction(), seen(Held.TRIED, letter=True), NOW, GRACE) is None
    # Whose transaction is final, that has nothing more to wait for.
    assert judge(transaction(State.CONFIRMED), seen(Held.TRIED, letter=True), NOW, GRACE) is Kind.ROLLED_BACK


def test_a_confirm_that_the_consumer_has_not_come_to_is_late() -> None:
    behind = GRACE._replace(behind=True)
    assert judge(transaction(), seen(Held.TRIED), NOW, behind) is None
    cancelling = transaction(State.CANCELLING)
    assert judge(cancelling, seen(Held.TRIED), NOW, behind) is Kind.NOT_APPLIED, "no topic carries a Cancel"


def test_an_acknowledgement_that_the_coordinator_has_not_come_to_is_late() -> None:
    assert judge(transaction(), seen(Held.CONFIRMED), NOW, GRACE._replace(deaf=True)) is None


def test_the_initiator_is_late_until_every_other_has_settled() -> None:
    both = (BranchState.CONFIRMING, BranchState.CONFIRMING)
    waiting = transaction(State.CONFIRMING, *both, initiator="p1")
    assert judge(waiting, seen(Held.TRIED), NOW, GRACE) is None
    alone = transaction(State.CONFIRMING, BranchState.CONFIRMING, BranchState.CONFIRMED, initiator="p1")
    assert judge(alone, seen(Held.TRIED), NOW, GRACE) is Kind.NOT_APPLIED
