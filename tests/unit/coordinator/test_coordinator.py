"""The coordinator's promises, on virtual time: what it decides, what it repeats, what it survives."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pydantic_core
import pytest

from coordinator import log
from coordinator.branch import BranchState
from coordinator.coordinator import BranchRequest, TransactionRequest
from coordinator.log import Change, Stale
from coordinator.transaction import EXPIRED, UNKNOWN_TRANSACTION, Mode, State, Transaction, decide
from shared.errors import Refused
from shared.http.caller import Reply
from shared.tcc.protocol import BRANCH_ID
from tests.simulation.loop import run_virtually
from tests.unit.coordinator.world import LOST, World, outcome_record, problem, world


def virtually(
    story: Callable[[World], Awaitable[None]], confirm: str = "kafka:things", *, recovery: bool = True
) -> None:
    async def run() -> None:
        async with world(confirm, recovery=recovery) as one:
            await story(one)

    run_virtually(run())


async def final(one: World, transaction_id: str, seconds: float = 600.0) -> Transaction:
    return await one.coordinator.wait_final(await one.coordinator.show(transaction_id), seconds)


def test_an_order_is_decided_published_acknowledged_and_settled_with_the_initiator_last() -> None:
    async def story(one: World) -> None:
        transaction, created = await one.begin("t")
        assert created
        assert transaction.state is State.CONFIRMING
        first = await one.published()
        assert len(first) == 2
        await one.acknowledge(first)
        last = await one.published()
        assert len(last) == 1
        await one.acknowledge(last)
        assert (await one.coordinator.show("t")).state is State.CONFIRMED

    virtually(story)


def test_the_row_is_durable_before_the_first_try_leaves() -> None:
    async def story(one: World) -> None:
        seen: list[object] = []
        call = one.caller.call

        async def watch(*args: object, **kwargs: object) -> Reply:
            seen.append(await one.database.read(lambda connection: log.read(connection, "t")))
            return await call(*args, **kwargs)  # type: ignore[arg-type]

        one.caller.call = watch  # type: ignore[method-assign]
        await one.begin("t")
        assert seen
        assert None not in seen

    virtually(story)


def test_a_refusal_is_answered_at_once_and_the_others_are_cancelled_with_its_reason() -> None:
    async def story(one: World) -> None:
        one.caller.script("POST", "stock", problem("insufficient-stock"))
        one.caller.script("POST", "payment", Reply(201), delay=1.5)
        before = one.clock.now()
        transaction, _ = await one.begin("t")
        assert one.clock.now() - before < 100
        assert (transaction.state, transaction.reason) == (State.CANCELLING, "insufficient-stock")
        assert (await final(one, "t")).state is State.CANCELLED
        assert one.caller.count("DELETE", "stock") == 0
        cancels = [name for method, name in one.caller.calls if method == "DELETE"]
        assert cancels == ["payment", "order"]
        assert one.caller.headers[-1]["tcc-reason"] == "insufficient-stock"

    virtually(story)


def test_a_lost_try_is_repeated_within_the_deadline() -> None:
    async def story(one: World) -> None:
        one.caller.script("POST", "stock", LOST, Reply(503), Reply(201))
        transaction, _ = await one.begin("t")
        assert transaction.state is State.CONFIRMING
        assert one.caller.count("POST", "stock") == 3

    virtually(story)


def test_a_participant_that_never_answers_cancels_the_transaction_by_its_deadline() -> None:
    async def story(one: World) -> None:
        one.caller.script("POST", "stock", LOST)
        before = one.clock.now()
        transaction, _ = await one.begin("t")
        assert (transaction.state, transaction.reason) == (State.CANCELLING, EXPIRED)
        assert 8_000 <= one.clock.now() - before <= 10_000
        assert (await final(one, "t")).state is State.CANCELLED

    virtually(story)


def test_cancels_are_repeated_until_they_land_and_one_slow_participant_holds_up_no_other() -> None:
    async def story(one: World) -> None:
        one.caller.script("POST", "payment", problem("payment-declined", 402))
        one.caller.script("DELETE", "stock", *[LOST] * 20, Reply(204))
        await one.begin("slow")
        await asyncio.sleep(60)
        assert (await one.coordinator.show("slow")).attention is not None
        one.caller.script("POST", "stock", problem("insufficient-stock"))
        await one.begin("quick")
        assert (await final(one, "quick", 1)).state is State.CANCELLED
        assert (await final(one, "slow")).state is State.CANCELLED
        assert (await one.coordinator.show("slow")).attention is None

    virtually(story)


def test_a_repeat_joins_and_another_body_is_refused() -> None:
    async def story(one: World) -> None:
        one.caller.script("POST", "stock", Reply(201), delay=0.5)
        (first, created), (second, joined) = await asyncio.gather(one.begin("t"), one.begin("t"))
        assert (created, joined) == (True, False)
        assert first.state is second.state is State.CONFIRMING
        assert one.caller.count("POST", "stock") == 1
        with pytest.raises(Refused) as refused:
            await one.begin("t", body_hash="other")
        assert refused.value.slug == "transaction-id-reused"

    virtually(story)


def test_an_inquiry_about_an_unknown_id_is_a_durable_cancel() -> None:
    async def story(one: World) -> None:
        ruling = await one.inquiries.inquire("t", None)
        assert (ruling.decision, ruling.reason) == ("cancel", UNKNOWN_TRANSACTION)
        with pytest.raises(Refused) as refused:
            await one.begin("t")
        assert refused.value.status == 409
        assert one.caller.calls == []

    virtually(story)


def test_an_inquiry_waits_before_the_deadline_and_cancels_after_it() -> None:
    async def story(one: World) -> None:
        await one.begin("t", mode=Mode.MANUAL, span=60_000)
        assert (await one.inquiries.inquire("t", None)).decision == "wait"
        await asyncio.sleep(61)
        assert (await one.inquiries.inquire("t", None)).decision == "cancel"
        with pytest.raises(Refused) as refused:
            await one.coordinator.confirm("t")
        assert refused.value.status == 410

    virtually(story, recovery=False)


def test_an_inquiry_about_a_confirmed_transaction_says_confirm() -> None:
    async def story(one: World) -> None:
        transaction, _ = await one.begin("t")
        assert (await one.inquiries.inquire("t", transaction.branches[1].branch_id)).decision == "confirm"
        assert (await one.inquiries.inquire("t", "never-had")).decision == "cancel"

    virtually(story)


def test_a_held_transaction_takes_a_branch_and_is_confirmed_by_its_owner() -> None:
    async def story(one: World) -> None:
        held, _ = await one.begin("t", "order", "stock", mode=Mode.MANUAL, span=600_000)
        assert held.state is State.TRIED
        request = BranchRequest("payment", {"paymentAmt": 1})
        both = await asyncio.gather(one.coordinator.add("t", request), one.coordinator.add("t", request))
        assert sorted(opened for _, _, opened in both) == [False, True]
        assert {branch.state for _, branch, _ in both} == {BranchState.TRIED}
        assert one.caller.count("POST", "payment") == 1
        assert (await one.coordinator.confirm("t")).state is State.CONFIRMING
        assert (await one.coordinator.confirm("t")).state is State.CONFIRMING
        with pytest.raises(Refused):
            await one.coordinator.cancel("t", "changed-mind")

    virtually(story)


def test_a_refused_added_branch_is_closed_and_the_next_one_may_succeed() -> None:
    async def story(one: World) -> None:
        await one.begin("t", "order", "stock", mode=Mode.MANUAL, span=600_000)
        one.caller.script("POST", "payment", problem("payment-declined", 402), Reply(201))
        transaction, branch, _ = await one.coordinator.add("t", BranchRequest("payment", {}))
        assert (branch.state, transaction.state) == (BranchState.CLOSED, State.TRIED)
        assert (await one.inquiries.inquire("t", branch.branch_id)).decision == "cancel"
        _, branch, _ = await one.coordinator.add("t", BranchRequest("payment", {}))
        assert branch.state is BranchState.TRIED

    virtually(story)


def test_an_added_branch_whose_answer_is_unknown_keeps_its_id_and_is_tried_again() -> None:
    async def story(one: World) -> None:
        await one.begin("t", "order", "stock", mode=Mode.MANUAL, span=600_000)
        one.caller.script("POST", "payment", *[LOST] * 12, Reply(201))
        _, first, _ = await one.coordinator.add("t", BranchRequest("payment", {}))
        assert first.state is BranchState.TRYING
        await asyncio.sleep(60)
        _, again, opened = await one.coordinator.add("t", BranchRequest("payment", {}))
        assert (again.branch_id, again.state, opened) == (first.branch_id, BranchState.TRIED, False)

    virtually(story)


def test_a_held_transaction_past_its_deadline_is_swept() -> None:
    async def story(one: World) -> None:
        await one.begin("t", "order", "stock", mode=Mode.MANUAL, span=3_000)
        await asyncio.sleep(3.5)
        swept = await one.coordinator.show("t")
        assert (swept.state, swept.reason) == (State.CANCELLED, EXPIRED)

    virtually(story)


def test_a_transaction_whose_driver_died_is_driven_on_by_another() -> None:
    async def story(one: World) -> None:
        one.caller.script("POST", "stock", Reply(201), delay=1.0)
        dying = asyncio.create_task(one.begin("t"))
        await asyncio.sleep(0.5)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        assert (await one.coordinator.show("t")).state is State.TRYING
        await asyncio.sleep(7)
        assert (await one.coordinator.show("t")).state is State.CONFIRMING

    virtually(story)


def test_a_stale_driver_can_not_change_the_decision() -> None:
    async def story(one: World) -> None:
        await one.begin("t", mode=Mode.MANUAL, span=60_000)
        stale = await one.coordinator.show("t")
        await one.coordinator.confirm("t")
        change = Change(decide(stale, State.CANCELLING, one.clock.now(), "late"))
        with pytest.raises(Stale):
            await one.database.write(
                lambda connection: log.save(connection, one.outbox, [change], one.clock.now())
            )
        assert (await one.coordinator.show("t")).state is State.CONFIRMING

    virtually(story)


def test_what_is_not_acknowledged_is_published_again_and_a_dead_letter_is_not() -> None:
    async def story(one: World) -> None:
        await one.begin("t", "stock")
        first = await one.published()
        await asyncio.sleep(11)
        again = await one.published()
        assert [message.value for message in again] == [message.value for message in first]
        await one.acknowledge(again, "dead-lettered")
        shown = await one.coordinator.show("t")
        assert shown.attention is not None
        assert "FrozenError" in shown.attention
        await asyncio.sleep(1_000)
        assert await one.published() == []
        await one.acknowledge(again)
        settled = await one.coordinator.show("t")
        assert (settled.state, settled.attention) == (State.CONFIRMED, None)

    virtually(story)


def test_a_dead_lettered_confirm_that_was_applied_is_found_where_its_acknowledgement_was_lost() -> None:
    async def story(one: World) -> None:
        one.caller.script("GET", "stock", LOST, Reply(404), Reply(200, {}, b'{"state":"TRIED"}'))
        await one.begin("t", "stock")
        await one.acknowledge(await one.published(), "dead-lettered")
        await asyncio.sleep(200)
        assert (await one.coordinator.show("t")).state is State.CONFIRMING
        assert one.caller.count("GET", "stock") in (3, 4)
        one.caller.script("GET", "stock", Reply(200, {}, b'{"state":"CONFIRMED"}'))
        settled = await one.coordinator.retry("t")
        await asyncio.sleep(1)
        settled = await one.coordinator.show("t")
        assert (settled.state, settled.attention) == (State.CONFIRMED, None)
        assert await one.published() == []

    virtually(story)


def test_a_participant_registered_for_rest_is_confirmed_by_put_until_it_is_done() -> None:
    async def story(one: World) -> None:
        one.caller.script("PUT", "stock", Reply(503), Reply(202), LOST, Reply(204))
        await one.begin("t")
        assert (await final(one, "t")).state is State.CONFIRMED
        assert one.caller.count("PUT", "stock") == 4
        assert [name for method, name in one.caller.calls if method == "PUT"][-1] == "order"

    virtually(story, confirm="rest")


def test_the_timeline_tells_every_call_and_every_state_in_order() -> None:
    async def story(one: World) -> None:
        one.caller.script("POST", "stock", LOST, Reply(201))
        await one.begin("t", "stock")
        await one.acknowledge(await one.published())
        events = await one.coordinator.timeline("t")
        told = [event.get("state") or event.get("phase") or event["event"] for event in events]
        assert told == ["TRYING", "try", "try", "CONFIRMING", "published", "outcome", "CONFIRMED"]
        assert [event["at"] for event in events] == sorted(event["at"] for event in events)

    virtually(story)


def test_an_outcome_of_an_unknown_transaction_is_told_apart() -> None:
    async def story(one: World) -> None:
        await one.begin("t", "stock")
        [message] = await one.published()
        assert message.value is not None
        good = outcome_record(message, "confirmed")
        strange = replace(good, value=(good.value or b"").replace(b'"t"', b'"x"'))
        garbage = replace(good, value=b"\xff")
        verdicts = await one.outcomes.handle([strange, good, garbage])
        assert [verdict is None for verdict in verdicts] == [False, True, False]
        assert (await one.coordinator.show("t")).state is State.CONFIRMED

    virtually(story)


def test_retry_drives_at_once_what_was_backing_off() -> None:
    async def story(one: World) -> None:
        one.caller.script("POST", "payment", problem("payment-declined", 402))
        one.caller.script("DELETE", "stock", LOST)
        await one.begin("t")
        await asyncio.sleep(120)
        one.caller.script("DELETE", "stock", Reply(204))
        await one.coordinator.retry("t")
        assert (await final(one, "t", 1)).state is State.CANCELLED

    virtually(story)


def held_by_the_initiator(body_hash: str = "same", holder: str = "order") -> TransactionRequest:
    return TransactionRequest(
        transaction_id="t",
        mode=Mode.AUTO,
        timeout=10_000,
        initiator="order",
        branches=[
            BranchRequest(name, {"of": name}, branch_id="t-held" if name == holder else None)
            for name in ("order", "stock", "payment")
        ],
        body_hash=body_hash,
    )


def test_a_branch_that_the_initiator_holds_already_is_not_tried_and_settles_last() -> None:
    async def story(one: World) -> None:
        transaction, _ = await one.coordinator.begin(held_by_the_initiator())
        assert transaction.state is State.CONFIRMING
        assert sorted(one.caller.calls) == [("POST", "payment"), ("POST", "stock")]
        await one.acknowledge(await one.published())
        [last] = await one.published()
        assert pydantic_core.from_json(last.value or b"")["reservationId"] == "t-held"
        await one.acknowledge([last])
        assert (await one.coordinator.show("t")).state is State.CONFIRMED

    virtually(story)


def test_a_branch_that_the_initiator_holds_already_is_cancelled_with_the_others() -> None:
    async def story(one: World) -> None:
        one.caller.script("POST", "stock", problem("insufficient-stock"))
        await one.coordinator.begin(held_by_the_initiator())
        assert (await final(one, "t")).state is State.CANCELLED
        held = [
            headers
            for call, headers in zip(one.caller.calls, one.caller.headers, strict=True)
            if call == ("DELETE", "order")
        ]
        assert [headers[BRANCH_ID] for headers in held] == ["t-held"]

    virtually(story)


def test_nobody_but_the_initiator_may_hold_its_branch_beforehand() -> None:
    async def story(one: World) -> None:
        with pytest.raises(Refused, match="Only the initiator"):
            await one.coordinator.begin(held_by_the_initiator(holder="stock"))

    virtually(story)


def test_an_added_branch_is_always_tried() -> None:
    async def story(one: World) -> None:
        await one.begin("t", "order", "stock", mode=Mode.MANUAL)
        with pytest.raises(Refused, match="is tried"):
            await one.coordinator.add("t", BranchRequest("payment", {}, branch_id="mine"))

    virtually(story)


def test_a_change_that_came_too_late_leaves_nothing_in_the_timeline() -> None:
    async def story(one: World) -> None:
        one.caller.script("POST", "stock", Reply(201), delay=0.5)
        beginning = asyncio.create_task(one.begin("t"))
        await asyncio.sleep(0.2)
        await one.coordinator.retry("t")  # It is another version now than the driver has.
        await beginning
        states = [
            event["state"] for event in await one.coordinator.timeline("t") if event["event"] == "state"
        ]
        assert states == ["TRYING", "CONFIRMING"]

    virtually(story)
