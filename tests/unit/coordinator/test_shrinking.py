"""Transactions that ended long ago shrink to what was decided, and still answer whoever comes late."""

import asyncio

import pytest
from sqlalchemy import Connection, text

from coordinator import log
from coordinator.branch import BranchState
from coordinator.log import Change, Stale
from coordinator.reconciliation import Kind, Seen, finding, may_be_forgotten
from coordinator.shrinking import shrink
from coordinator.transaction import State, Transaction
from shared.errors import Refused
from shared.tcc.protocol import State as Held
from tests.unit.coordinator.test_coordinator import final, virtually
from tests.unit.coordinator.world import World, outcome_record, problem

LONG_AFTER = 2_592_000_000


async def confirmed(one: World, transaction_id: str = "t") -> Transaction:
    await one.begin(transaction_id)
    while (await one.coordinator.show(transaction_id)).state is not State.CONFIRMED:
        await one.acknowledge(await one.published())
    return await one.coordinator.show(transaction_id)


async def shrunk(one: World, most: int = 100, after: int = LONG_AFTER) -> int:
    """Shrink what ended by now, as if it were so long ago."""
    now = one.clock.now() + after
    return await one.database.write(lambda connection: shrink(connection, now - after + 1, now, most))


def test_what_is_remembered_is_who_took_part_and_how_it_ended() -> None:
    async def story(one: World) -> None:
        before = await confirmed(one)
        assert await shrunk(one) == 1
        after = await one.coordinator.show("t")
        assert after.shrunk_at == one.clock.now() + LONG_AFTER
        assert after.state is State.CONFIRMED
        assert (after.body_hash, after.created_at, after.decided_at, after.updated_at) == (
            before.body_hash,
            before.created_at,
            before.decided_at,
            before.updated_at,
        )
        assert [(each.branch_id, each.participant, each.state) for each in after.branches] == [
            (each.branch_id, each.participant, each.state) for each in before.branches
        ]
        assert all(each.claim == {} for each in after.branches)
        assert [event["event"] for event in await one.coordinator.timeline("t")] == ["shrunk"]
        assert await one.database.read(_rows_of_timelines) == 0

    virtually(story)


def test_only_what_has_ended_before_that_shrinks_and_only_once() -> None:
    async def story(one: World) -> None:
        ended = await confirmed(one, "ended")
        await one.begin("under-way")

        async def before(instant: int) -> int:
            return await one.database.write(lambda connection: shrink(connection, instant, instant, 100))

        assert await before(ended.updated_at) == 0
        assert await before(ended.updated_at + 1) == 1
        assert await shrunk(one) == 0
        assert (await one.coordinator.show("under-way")).shrunk_at is None

    virtually(story)


def test_the_longest_ended_shrink_first_a_batch_at_a_time() -> None:
    async def story(one: World) -> None:
        for name in ("b", "c", "a"):
            await confirmed(one, name)
            await asyncio.sleep(1)  # of virtual time
        assert await shrunk(one, most=2) == 2
        assert (await one.coordinator.show("a")).shrunk_at is None
        assert await shrunk(one, most=2) == 1

    virtually(story)


def test_whoever_begins_it_again_joins_it_and_gets_the_same_outcome() -> None:
    async def story(one: World) -> None:
        await confirmed(one)
        await shrunk(one)
        joined, created = await one.begin("t")
        assert (joined.state, created) == (State.CONFIRMED, False)
        with pytest.raises(Refused) as refused:
            await one.begin("t", body_hash="other")
        assert refused.value.slug == "transaction-id-reused"

    virtually(story)


def test_a_refusal_is_told_as_it_was() -> None:
    async def story(one: World) -> None:
        one.caller.script("POST", "payment", problem("payment-declined", 402))
        await one.begin("t")
        before = await final(one, "t")
        assert before.state is State.CANCELLED
        await shrunk(one)
        after = await one.coordinator.show("t")
        assert after.reason == before.reason == "payment-declined"
        refusing = [each.problem for each in before.branches if each.problem is not None]
        assert refusing
        assert [each.problem for each in after.branches if each.problem is not None] == refusing

    virtually(story)


def test_an_inquiry_is_answered_by_the_decision() -> None:
    async def story(one: World) -> None:
        transaction = await confirmed(one)
        await shrunk(one)
        ruling = await one.inquiries.inquire("t", transaction.branches[0].branch_id)
        assert ruling.decision == "confirm"
        assert (await one.inquiries.inquire("t", "never-was")).decision == "cancel"

    virtually(story)


def test_the_oldest_outcome_changes_nothing() -> None:
    async def story(one: World) -> None:
        await one.begin("t")
        messages = await one.published()
        await one.acknowledge(messages)
        while (await one.coordinator.show("t")).state is not State.CONFIRMED:
            await one.acknowledge(await one.published())
        await shrunk(one)
        before = await one.coordinator.show("t")
        for outcome in ("confirmed", "dead-lettered"):
            assert await one.outcomes.handle([outcome_record(messages[0], outcome)]) == [None]
        assert await one.coordinator.show("t") == before

    virtually(story)


def test_a_retry_leaves_it_as_it_is() -> None:
    async def story(one: World) -> None:
        await confirmed(one)
        await shrunk(one)
        before = await one.coordinator.show("t")
        assert await one.coordinator.retry("t") == before
        assert await one.database.read(_rows_of_timelines) == 0

    virtually(story)


def test_a_driver_that_read_it_before_can_not_bring_it_back() -> None:
    async def story(one: World) -> None:
        stale = await confirmed(one)
        await shrunk(one)
        with pytest.raises(Stale):
            await one.database.write(
                lambda connection: log.save(connection, one.outbox, [Change(stale)], one.clock.now())
            )

    virtually(story)


def test_it_is_listed_like_any_other_but_no_longer_compared() -> None:
    async def story(one: World) -> None:
        await confirmed(one, "old")
        await shrunk(one)
        await confirmed(one, "young")
        listed = await one.coordinator.page(state=State.CONFIRMED, attention=None, after=None, most=10)
        assert [each.transaction_id for each in listed] == ["old", "young"]
        whole = await one.database.read(
            lambda connection: log.page(connection, whole=True, after=None, most=10)
        )
        assert [each.transaction_id for each in whole] == ["young"]
        assert await one.database.read(log.count_whole) == 1

    virtually(story)


def test_that_its_participant_has_forgotten_a_branch_is_no_finding_any_more() -> None:
    async def story(one: World) -> None:
        before = await confirmed(one)
        absent = Seen(before.branches[0].branch_id, None, Held.ABSENT)
        assert finding(before, absent) is Kind.ABSENT
        await shrunk(one)
        assert finding(await one.coordinator.show("t"), absent) is None

    virtually(story)


@pytest.mark.parametrize(
    ("state", "over"), [(Held.CONFIRMED, True), (Held.CANCELLED, False), (Held.TRIED, False)]
)
def test_only_what_both_sides_agree_about_may_be_forgotten(state: Held, over: bool) -> None:
    async def story(one: World) -> None:
        before = await confirmed(one)
        seen = Seen(before.branches[0].branch_id, "t", state)
        assert not may_be_forgotten(before, seen)
        await shrunk(one)
        after = await one.coordinator.show("t")
        assert may_be_forgotten(after, seen) is over
        assert not may_be_forgotten(after, seen._replace(transaction_id="another"))

    virtually(story)


def test_of_a_transaction_that_nobody_knows_only_what_is_cancelled_may_be_forgotten() -> None:
    assert may_be_forgotten(None, Seen("b", "t", Held.CANCELLED))
    assert not may_be_forgotten(None, Seen("b", "t", Held.CONFIRMED))


def test_a_closed_branch_of_a_confirmed_transaction_may_be_forgotten() -> None:
    async def story(one: World) -> None:
        before = await confirmed(one)
        closed = before.branches[0]._replace(state=BranchState.CLOSED)
        after = before._replace(branches=(closed, *before.branches[1:]), shrunk_at=one.clock.now())
        assert may_be_forgotten(after, Seen(closed.branch_id, "t", Held.CANCELLED))

    virtually(story)


def test_what_an_inquiry_cancelled_shrinks_too() -> None:
    async def story(one: World) -> None:
        await one.inquiries.inquire("unheard-of", "b")
        assert await shrunk(one) == 1
        assert (await one.inquiries.inquire("unheard-of", "b")).decision == "cancel"
        assert may_be_forgotten(
            await one.coordinator.show("unheard-of"), Seen("b", "unheard-of", Held.CANCELLED)
        )

    virtually(story)


def _rows_of_timelines(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM timeline")).scalar_one())
