"""Confirm and Cancel: one decision for a branch, made once, repeated without effect, never contradicted."""

import asyncio
import logging

import pydantic_core
import pytest

from shared.errors import Conflict, NotFound
from shared.messaging.broker import Message
from shared.tcc.protocol import Phase, State
from tests.contract.world import World


async def test_confirm_keeps_what_was_held(world: World) -> None:
    await world.tried()
    answer = await world.confirmed()

    assert answer.status_code == 204
    assert await world.state() is State.CONFIRMED
    assert await world.ledger() in ((0, 1), (None, 1))


async def test_repeated_confirm_answers_as_before_and_keeps_nothing_more(world: World) -> None:
    await world.tried()
    await world.confirmed()

    assert (await world.confirmed()).status_code == 204
    assert await world.ledger() in ((0, 1), (None, 1))


async def test_confirm_applies_long_after_the_expiry(world: World) -> None:
    await world.tried()
    world.clock.advance(86_400_000)

    assert (await world.confirmed()).status_code == 204
    assert await world.ledger() in ((0, 1), (None, 1))


async def test_every_confirm_puts_its_outcome_into_the_outbox(world: World) -> None:
    await world.tried()
    await world.confirmed()
    await world.confirmed()
    outcomes = [_outcome(message) for message in await world.outgoing()]

    assert len(outcomes) == 2
    for outcome in outcomes:
        assert outcome["transactionId"] == "tx-1"
        assert outcome["branchId"] == "branch-1"
        assert outcome["outcome"] == "confirmed"


async def test_confirm_of_an_unknown_branch_is_not_found(world: World) -> None:
    answer = await world.confirm()

    assert answer.status_code == 404
    assert await world.state() is State.ABSENT


async def test_cancel_lets_go_what_was_held(world: World) -> None:
    await world.tried()
    answer = await world.cancelled()

    assert answer.status_code == 204
    assert await world.state() is State.CANCELLED
    assert (await world.show())["reason"] == "changed-my-mind"
    assert await world.ledger() in ((0, 0), (None, 0))


async def test_repeated_cancel_answers_as_before_and_lets_nothing_more_go(world: World) -> None:
    await world.tried()
    await world.cancelled()

    assert (await world.cancelled("branch-1", "tx-1", "other-reason")).status_code == 204
    assert (await world.show())["reason"] == "changed-my-mind"
    assert await world.ledger() in ((0, 0), (None, 0))


async def test_cancel_before_try_leaves_a_tombstone_and_the_late_try_is_refused(world: World) -> None:
    assert (await world.cancel()).status_code == 204
    late = await world.tried()

    assert late.status_code == 409
    assert late.json()["type"] == "urn:handfast:problem:cancelled-before-try"
    assert (await world.show())["state"] == "CANCELLED"
    assert (await world.ledger()).held in (0, None)
    assert (await world.cancel()).status_code == 204


async def test_late_try_with_any_body_finds_the_tombstone(world: World) -> None:
    await world.cancel()
    late = await world.tried(claim=world.case.other_claim("tx-1"))

    assert late.json()["type"] == "urn:handfast:problem:cancelled-before-try"


async def test_try_after_cancel_is_refused(world: World) -> None:
    await world.tried()
    await world.cancelled()
    answer = await world.tried()

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:handfast:problem:reservation-cancelled"
    assert (await world.ledger()).held in (0, None)


async def test_confirm_of_a_cancelled_branch_is_a_conflict_and_an_alarm(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.tried()
    await world.cancelled()
    before = await world.ledger()
    answer = await world.confirmed()

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:handfast:problem:reservation-cancelled"
    assert await world.ledger() == before
    assert world.conflicts() == 1
    assert any("branch-1" in record.message for record in caplog.records if record.levelno == logging.ERROR)


async def test_confirm_of_a_tombstone_is_a_conflict(world: World) -> None:
    await world.cancel()

    assert (await world.confirmed()).status_code == 409
    assert world.conflicts() == 1


async def test_cancel_of_a_confirmed_branch_is_a_conflict_and_an_alarm(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.tried()
    await world.confirmed()
    before = await world.ledger()
    answer = await world.cancelled()

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:handfast:problem:reservation-confirmed"
    assert await world.ledger() == before
    assert await world.state() is State.CONFIRMED
    assert world.conflicts() == 1
    assert any("branch-1" in record.message for record in caplog.records if record.levelno == logging.ERROR)


@pytest.mark.parametrize("phase", [Phase.CONFIRM, Phase.CANCEL])
async def test_another_transaction_decides_nothing(world: World, phase: Phase) -> None:
    await world.tried()
    before = await world.ledger()
    decide = world.confirm if phase is Phase.CONFIRM else world.cancel
    answer = await decide("branch-1", "tx-2")

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:handfast:problem:branch-id-reused"
    assert await world.state() is State.TRIED
    assert await world.ledger() == before


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_nobody_decides_without_the_transaction_s_id(world: World, method: str) -> None:
    await world.tried()
    answer = await world.client.request(method, f"{world.path}/branch-1")

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:handfast:problem:owned-by-transaction"
    assert await world.state() is State.TRIED


async def test_twenty_confirms_keep_once(world: World) -> None:
    await world.tried()
    answers = await asyncio.gather(*(world.confirm() for _ in range(20)))

    assert {answer.status_code for answer in answers} <= {204, 425, 503}
    assert (await world.confirmed()).status_code == 204
    assert await world.ledger() in ((0, 1), (None, 1))


async def test_confirms_and_cancels_together_end_in_one_decision(world: World) -> None:
    await world.tried()
    calls = [world.confirm if number % 2 else world.cancel for number in range(20)]
    answers = await asyncio.gather(*(call() for call in calls))
    world.clock.advance(20_000)
    confirmed, cancelled = await world.confirmed(), await world.cancelled()

    assert {answer.status_code for answer in answers} <= {204, 409, 425, 503}
    assert {confirmed.status_code, cancelled.status_code} == {204, 409}
    ledger = await world.ledger()
    assert ledger.kept == (1 if confirmed.status_code == 204 else 0)
    assert ledger.held in (0, None)


async def test_try_and_cancel_together_never_leave_anything_held(world: World) -> None:
    calls = [world.try_ if number % 2 else world.cancel for number in range(20)]
    answers = await asyncio.gather(*(call() for call in calls))
    world.clock.advance(20_000)

    assert {answer.status_code for answer in answers} <= {201, 202, 204, 409, 425, 503}
    assert (await world.cancelled()).status_code == 204
    assert await world.state() is State.CANCELLED
    assert await world.ledger() in ((0, 0), (None, 0))


async def test_many_branches_are_decided_each_alone(toy: World) -> None:
    branches = [f"branch-{number}" for number in range(60)]
    await asyncio.gather(*(toy.try_(branch) for branch in branches))
    await asyncio.gather(
        *((toy.confirm if number % 3 else toy.cancel)(branch) for number, branch in enumerate(branches))
    )

    assert await toy.ledger() == (0, 40)


async def test_handle_raises_what_http_answers(toy: World) -> None:
    with pytest.raises(NotFound):
        await toy.host.handle(toy.command(Phase.CONFIRM))
    await toy.try_()
    await toy.host.handle(toy.command(Phase.CONFIRM))
    with pytest.raises(Conflict):
        await toy.host.handle(toy.command(Phase.CANCEL))

    assert toy.conflicts() == 1


def _outcome(message: Message) -> dict[str, str]:
    assert message.topic == "tcc-outcomes"
    assert message.key == b"tx-1"
    assert message.value is not None
    value: dict[str, str] = pydantic_core.from_json(message.value)
    return value
