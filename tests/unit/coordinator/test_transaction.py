"""The state machine, rule by rule, and then all of it under random facts."""

from hypothesis import given
from hypothesis import strategies as st

from coordinator.branch import Answered, Branch, BranchState, DeadLettered, Fact, Policy, Settled
from coordinator.transaction import (
    EXPIRED,
    FINAL,
    TO_CONFIRM,
    UNDECIDED,
    Mode,
    State,
    Transaction,
    add_branch,
    advance,
    calls,
    decide,
    hurry,
    learn,
    wake_at,
)
from shared.tcc.protocol import Phase, Sort

NOW = 1_000_000
KAFKA = Policy(published=frozenset({"order", "stock", "payment"}))
REST = Policy(published=frozenset())


def transaction(
    *participants: str, mode: Mode = Mode.AUTO, timeout: int = 10_000, initiator: str | None = "order"
) -> Transaction:
    names = participants or ("order", "stock", "payment")
    return Transaction(
        transaction_id="t",
        mode=mode,
        state=State.TRYING,
        timeout=timeout,
        deadline=NOW + timeout,
        initiator=initiator if initiator in names else None,
        branches=tuple(Branch(f"b-{name}", name, {}) for name in names),
        body_hash="",
        created_at=NOW,
        updated_at=NOW,
    )


def answered(name: str, sort: Sort = Sort.DONE, phase: Phase = Phase.TRY, **more: object) -> Answered:
    return Answered(phase, f"b-{name}", sort, **more)  # type: ignore[arg-type]


def after(one: Transaction, *facts: Fact, now: int = NOW, policy: Policy = KAFKA) -> Transaction:
    for fact in facts:
        one = learn(one, fact, now, policy)
    return advance(one, now, policy)[0]


def all_tried(one: Transaction, now: int = NOW, policy: Policy = KAFKA) -> Transaction:
    return after(one, *(answered(branch.participant) for branch in one.branches), now=now, policy=policy)


def test_every_try_is_called_at_once() -> None:
    assert [call.branch.participant for call in calls(transaction(), NOW, KAFKA)] == [
        "order",
        "stock",
        "payment",
    ]


def test_it_confirms_only_once_every_branch_is_tried() -> None:
    one = after(transaction(), answered("order"), answered("stock"))
    assert one.state is State.TRYING
    assert after(one, answered("payment")).state is State.CONFIRMING


def test_the_confirms_are_published_with_the_decision_and_the_initiators_waits() -> None:
    one = transaction()
    for branch in one.branches:
        one = learn(one, answered(branch.participant), NOW, KAFKA)
    decided, published = advance(one, NOW, KAFKA)
    assert decided.state is State.CONFIRMING
    assert [branch.participant for branch in published] == ["stock", "payment"]


def test_the_initiator_is_settled_last_and_then_the_transaction_is_confirmed() -> None:
    one = after(all_tried(transaction()), Settled("b-stock"))
    still, published = advance(one, NOW, KAFKA)
    assert published == ()
    last, published = advance(learn(still, Settled("b-payment"), NOW, KAFKA), NOW, KAFKA)
    assert [branch.participant for branch in published] == ["order"]
    assert last.state is State.CONFIRMING
    assert after(last, Settled("b-order")).state is State.CONFIRMED


def test_a_refusal_cancels_at_once_with_its_reason() -> None:
    problem = {"type": "urn:handfast:problem:insufficient-stock"}
    one = after(transaction(), answered("stock", Sort.REFUSED, problem=problem))
    assert one.state is State.CANCELLING
    assert one.reason == "insufficient-stock"


def test_the_reason_of_a_refusal_fits_a_header_and_a_column_whatever_its_participant_says() -> None:
    told = {
        "urn:handfast:problem:sold-out": "sold-out",
        "https://example.test/probs/sold-out": "https://example.test/probs/sold-out",
        "urn:x:a\x00b\r\nc \u2603d": "urn:x:abcd",
        "x" * 1_000: "x" * 200,
        "\x00": "refused",
        "": "refused",
    }
    for kind, reason in told.items():
        one = after(transaction(), answered("stock", Sort.REFUSED, problem={"type": kind}))
        assert (one.state, one.reason) == (State.CANCELLING, reason)


def test_a_branch_that_refused_its_only_try_is_not_cancelled_the_others_are_and_the_initiator_last() -> None:
    one = after(transaction(), answered("order"), answered("stock", Sort.REFUSED))
    assert [call.branch.participant for call in calls(one, NOW, KAFKA)] == ["payment"]
    one = after(one, answered("payment", phase=Phase.CANCEL))
    assert [call.branch.participant for call in calls(one, NOW, KAFKA)] == ["order"]
    assert after(one, answered("order", phase=Phase.CANCEL)).state is State.CANCELLED


def test_a_branch_that_refused_after_an_unknown_answer_is_cancelled_too() -> None:
    one = after(transaction("stock"), answered("stock", Sort.UNKNOWN))
    one = after(one, answered("stock", Sort.REFUSED))
    assert [call.phase for call in calls(one, NOW, KAFKA)] == [Phase.CANCEL]


def test_past_the_deadline_less_its_margin_it_can_only_be_cancelled() -> None:
    inside = transaction(timeout=5_000)
    assert all_tried(inside, now=NOW + 4_500).state is State.CONFIRMING
    late = all_tried(inside, now=NOW + 4_501)
    assert (late.state, late.reason) == (State.CANCELLING, EXPIRED)


def test_the_margin_is_at_most_a_second() -> None:
    assert transaction(timeout=600_000).margin == 1_000


def test_an_unknown_try_is_called_again_after_its_back_off() -> None:
    one = after(transaction("stock"), answered("stock", Sort.UNKNOWN, error="timeout"))
    assert calls(one, NOW, KAFKA) == ()
    assert wake_at(one) == NOW + 100
    assert len(calls(one, NOW + 100, KAFKA)) == 1


def test_a_try_that_stays_unknown_for_a_burst_is_called_again_while_it_still_counts() -> None:
    """A burst is many calls: their back-off would reach beyond the deadline."""
    one = transaction("stock", timeout=30_000)
    burst = answered("stock", Sort.UNKNOWN, attempts=17)
    now, bursts = NOW, 0
    while now < one.decidable_until - 2_000:
        now += 1_000
        one = after(one, burst, now=now)
        due = wake_at(one)
        assert due is not None
        assert now < due < one.decidable_until
        now, bursts = due, bursts + 1
    assert bursts >= 4


def test_a_manual_transaction_waits_tried_until_somebody_decides_or_its_deadline() -> None:
    one = all_tried(transaction(mode=Mode.MANUAL, timeout=600_000))
    assert one.state is State.TRIED
    assert wake_at(one) == one.deadline
    assert after(one, now=one.deadline - 1).state is State.TRIED
    expired = after(one, now=one.deadline)
    assert (expired.state, expired.reason) == (State.CANCELLING, EXPIRED)


def test_an_added_branch_is_tried_and_then_the_transaction_waits_again() -> None:
    held = all_tried(transaction("order", "stock", mode=Mode.MANUAL))
    one = add_branch(held, Branch("b-payment", "payment", {}))
    assert one.state is State.TRYING
    assert [call.branch.participant for call in calls(one, NOW, KAFKA)] == ["payment"]
    assert after(one, answered("payment")).state is State.TRIED


def test_an_added_branch_that_refuses_is_closed_and_no_longer_counts() -> None:
    held = all_tried(transaction("order", "stock", mode=Mode.MANUAL))
    one = after(add_branch(held, Branch("b-payment", "payment", {})), answered("payment", Sort.REFUSED))
    assert one.state is State.TRIED
    assert one.open_branch_of("payment") is None
    confirmed = decide(one, State.CONFIRMING, NOW)
    closed = confirmed.branch("b-payment")
    assert closed is not None
    assert closed.state is BranchState.CLOSED


def test_past_the_deadline_a_late_branch_is_cancelled_with_the_rest() -> None:
    held = all_tried(transaction("order", "stock", mode=Mode.MANUAL))
    one = add_branch(held, Branch("b-payment", "payment", {}))
    late = after(one, now=one.deadline)
    assert late.state is State.CANCELLING
    assert [branch.state for branch in late.branches] == [BranchState.CANCELLING] * 3


def test_an_unacknowledged_confirm_is_published_again_after_10_s_doubling_to_5_min() -> None:
    one = all_tried(transaction("stock", initiator=None))
    waits, now = [], NOW
    for _ in range(8):
        due = wake_at(one)
        assert due is not None
        waits.append((due - now) // 1000)
        now = due
        one, published = advance(one, now, KAFKA)
        assert len(published) == 1
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]


def test_a_dead_letter_stops_publication_and_asks_for_attention_until_it_is_applied() -> None:
    one = after(all_tried(transaction()), DeadLettered("b-stock", "frozen"))
    assert one.attention is not None
    assert "stock" in one.attention
    later, published = advance(one, NOW + 400_000, KAFKA)
    assert [branch.participant for branch in published] == ["payment"]
    applied = after(later, Settled("b-stock"), now=NOW + 400_000)
    assert applied.branch("b-stock").dead_letter is None  # type: ignore[union-attr]


def test_a_dead_lettered_confirm_is_looked_for_at_the_pace_of_republication() -> None:
    one = after(all_tried(transaction()), DeadLettered("b-stock", "frozen"), Settled("b-payment"))
    assert calls(one, NOW, KAFKA) == ()
    now, waits = NOW, []
    for _ in range(7):
        due = wake_at(one)
        assert due is not None
        waits.append((due - now) // 1000)
        now = due
        [look] = calls(one, now, KAFKA)
        assert (look.look, look.branch.branch_id) == (True, "b-stock")
        one = after(one, answered("stock", Sort.UNKNOWN, Phase.CONFIRM, error="TRIED"), now=now)
    assert waits == [10, 20, 40, 80, 160, 300, 300]
    assert one.attention is not None
    assert "frozen" in one.attention
    found = after(one, answered("stock", Sort.DONE, Phase.CONFIRM), now=now)
    assert [branch.participant for branch in found.branches if branch.state is BranchState.CONFIRMED] == [
        "stock",
        "payment",
    ]


def test_a_refused_decision_asks_for_attention_and_is_still_asked_again() -> None:
    one = all_tried(transaction("stock", initiator=None), policy=REST)
    one = after(one, answered("stock", Sort.REFUSED, Phase.CONFIRM, error="409 cancelled"), policy=REST)
    assert one.state is State.CONFIRMING
    assert one.attention is not None
    assert "409 cancelled" in one.attention
    assert len(calls(one, NOW + REST.retry_cap, REST)) == 1


def test_what_settles_too_slowly_asks_for_attention() -> None:
    one = all_tried(transaction())
    assert advance(one, NOW + 29_999, KAFKA)[0].attention is None
    assert advance(one, NOW + 30_000, KAFKA)[0].attention is not None


def test_cancels_back_off_with_jitter_up_to_a_cap() -> None:
    one = decide(transaction("stock"), State.CANCELLING, NOW)
    waits, now = [], NOW
    for _ in range(12):
        unknown = answered("stock", Sort.UNKNOWN, Phase.CANCEL, jitter=0.5)
        one = after(one, unknown, now=now)
        due = wake_at(one)
        assert due is not None
        waits.append(due - now)
        now = due
    assert waits[:4] == [50, 100, 200, 400]
    assert waits[-1] == 15_000


def test_hurrying_clears_the_back_off() -> None:
    one = all_tried(transaction("stock", initiator=None))
    assert advance(one, NOW + 1, KAFKA)[1] == ()
    assert len(advance(hurry(one, NOW + 1), NOW + 1, KAFKA)[1]) == 1


FACTS = st.one_of(
    st.tuples(
        st.sampled_from(Phase),
        st.sampled_from(["b-order", "b-stock", "b-payment", "b-nobody"]),
        st.sampled_from(Sort),
    ).map(lambda given: Answered(*given)),
    st.builds(Settled, st.sampled_from(["b-order", "b-stock", "b-payment"])),
    st.builds(DeadLettered, st.sampled_from(["b-order", "b-stock", "b-payment"]), st.just("why")),
)


@given(
    st.lists(st.tuples(FACTS, st.integers(0, 4_000)), max_size=40),
    st.sampled_from(Mode),
    st.sampled_from([KAFKA, REST]),
)
def test_whatever_happens_the_decision_never_changes_and_no_outcome_is_mixed(
    history: list[tuple[Fact, int]], mode: Mode, policy: Policy
) -> None:
    one, now = transaction(mode=mode), NOW
    tried: set[str] = set()
    for fact, passes in history:
        now += passes
        before = one
        one = after(one, fact, now=now, policy=policy)
        tried |= {branch.branch_id for branch in one.branches if branch.state is BranchState.TRIED}
        if before.state in FINAL:
            assert one._replace(attention=None) == before._replace(attention=None)
        if before.state not in UNDECIDED:
            assert (one.state in TO_CONFIRM) == (before.state in TO_CONFIRM)
        states = {branch.state for branch in one.branches}
        assert not {BranchState.CONFIRMED, BranchState.CANCELLED} <= states
        assert (wake_at(one) is None) == (
            one.state in FINAL
            or (
                all(branch.dead_letter for branch in one.branches if branch.state is BranchState.CONFIRMING)
                and one.state is State.CONFIRMING
            )
        )
        if one.state is State.CONFIRMING and before.state in UNDECIDED:
            assert now <= one.decidable_until
