"""External effects: intent, call, answer; looked up before they are tried again; undone when cancelled."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.database.inline import InlineDatabase
from shared.errors import Conflict, Transient
from shared.messaging import letters
from shared.messaging.failure import failure_of
from shared.messaging.listener import Subject
from shared.messaging.retry import Retry
from shared.tcc.confirmations import confirmation_listener
from shared.tcc.effects import Intent
from shared.tcc.inquiry import Decision
from shared.tcc.participant import Participant, ParticipantHost
from shared.tcc.protocol import Phase, State
from tests.contract.cases import ToyCase
from tests.contract.gateway import Fault, Gateway
from tests.contract.test_kafka_door import record
from tests.contract.test_standalone import deliver
from tests.contract.world import World, world_of


class Doorman(Gateway):
    """A gateway whose calls wait until they are let in."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.arrived = asyncio.Event()
        self.let_in = asyncio.Event()
        self.let_in.set()

    async def perform(self, intent: Intent[Any]) -> Mapping[str, Any]:
        self.arrived.set()
        await self.let_in.wait()
        return await super().perform(intent)


@pytest.fixture
def doorman() -> Doorman:
    return Doorman()


@pytest.fixture
async def world(doorman: Doorman, tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(ToyCase(doorman), InlineDatabase(tmp_path / "effects.db")) as world:
        patient(world.host)
        yield world


def patient(host: ParticipantHost[Any]) -> None:
    """Let calls take as long as the test likes."""
    assert host._intents is not None
    host._intents._timeout = 10


async def under_way(doorman: Doorman, call: Any) -> "asyncio.Task[Any]":
    """Begin a call and return once it is with the gateway."""
    doorman.let_in.clear()
    doorman.arrived.clear()
    task = asyncio.create_task(call)
    await asyncio.wait_for(doorman.arrived.wait(), 10)
    return task


async def test_a_repeat_while_it_is_under_way_is_too_early(world: World, doorman: Doorman) -> None:
    first = await under_way(doorman, world.try_())
    again = await world.try_()
    confirm = await world.confirm()
    doorman.let_in.set()

    assert again.status_code == confirm.status_code == 425
    assert again.headers["retry-after"] == "1"
    assert again.json()["type"] == "urn:handfast:problem:effect-under-way"
    assert (await first).status_code == 201
    assert doorman.calls == ["perform branch-1:try"]


async def test_a_confirm_under_way_is_too_early_to_repeat_and_too_late_to_cancel(
    world: World, doorman: Doorman
) -> None:
    await world.try_()
    first = await under_way(doorman, world.confirm())
    again = await world.confirm()
    cancel = await world.cancel()
    doorman.let_in.set()

    assert again.status_code == 425
    assert cancel.status_code == 409
    assert (await first).status_code == 204
    assert await world.ledger() == (0, 1)


async def test_a_cancel_under_way_is_too_early_to_repeat(world: World, doorman: Doorman) -> None:
    await world.try_()
    first = await under_way(doorman, world.cancel())
    again = await world.cancel()
    late = await world.try_()
    confirm = await world.confirm()
    doorman.let_in.set()

    assert again.status_code == 425
    assert (late.status_code, confirm.status_code) == (409, 409)
    assert (await first).status_code == 204
    assert await world.ledger() == (0, 0)


async def test_a_cancel_while_it_is_under_way_undoes_it_afterwards(world: World, doorman: Doorman) -> None:
    trying = await under_way(doorman, world.try_())
    cancel = await world.cancel()
    again = await world.cancel()
    doorman.let_in.set()

    assert cancel.status_code == again.status_code == 202
    assert cancel.headers["retry-after"] == "1"
    assert (await trying).status_code == 409
    assert (await world.cancel()).status_code == 204
    assert doorman.calls == ["perform branch-1:try", "perform branch-1:cancel"]
    assert (await world.show())["reason"] == "changed-my-mind"
    assert await world.ledger() == (0, 0)


async def test_what_the_other_side_declines_is_refused_and_let_go_inside(tmp_path: Path) -> None:
    case = ToyCase(Gateway(declines=frozenset({Phase.TRY})))
    async with world_of(case, InlineDatabase(tmp_path / "effects.db")) as world:
        first, again = await world.try_(), await world.try_()

        assert first.status_code == 402
        assert first.json()["type"] == "urn:handfast:problem:declined-outside"
        assert again.json() == first.json()
        assert await world.state() is State.CANCELLED
        assert await world.ledger() == (0, 0)
        assert (await world.cancel()).status_code == 204


async def test_what_business_declines_never_reaches_the_other_side(world: World, doorman: Doorman) -> None:
    answer = await world.try_(claim=world.case.refused_claim("tx-1"))

    assert answer.status_code == 409
    assert doorman.calls == []


async def test_a_declined_confirm_is_an_alarm_and_stays_decided(tmp_path: Path) -> None:
    gateway = Gateway(declines=frozenset({Phase.CONFIRM}))
    async with world_of(ToyCase(gateway), InlineDatabase(tmp_path / "effects.db")) as world:
        await world.try_()
        answer = await world.confirm()

        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:handfast:problem:effect-declined"
        assert world.conflicts() == 1
        assert await world.state() is State.CONFIRMING
        assert await world.outgoing() == []
        gateway.declines = frozenset()
        gateway.performed.clear()
        assert (await world.confirm()).status_code == 204
        assert await world.ledger() == (0, 1)


async def test_a_declined_cancel_is_tried_until_it_lands(tmp_path: Path) -> None:
    gateway = Gateway(declines=frozenset({Phase.CANCEL}))
    async with world_of(ToyCase(gateway), InlineDatabase(tmp_path / "effects.db")) as world:
        await world.try_()
        assert (await world.cancel()).status_code == 503
        assert await world.state() is State.CANCELLING
        gateway.declines = frozenset()
        gateway.performed.clear()
        world.clock.advance(70_000)
        await world.sweeper.sweep()

        assert await world.state() is State.CANCELLED
        assert await world.ledger() == (0, 0)


@pytest.mark.parametrize("phase", [Phase.TRY, Phase.CONFIRM, Phase.CANCEL])
@pytest.mark.parametrize("point", ["before the call", "after the call"])
async def test_a_crash_is_recovered_by_the_sweeper(
    world: World, doorman: Doorman, phase: Phase, point: str
) -> None:
    """The process dies with the intent committed: before the other side heard of it, or after it acted."""
    command = world.command(phase)
    if phase is not Phase.TRY:
        await world.try_()
    calls = len(doorman.calls)
    dying = await under_way(doorman, world.host.handle(command))
    if point == "after the call":
        intent = await pending_intent(world, phase)
        doorman._act(intent)
    dying.cancel()
    await asyncio.wait((dying,))
    doorman.let_in.set()
    assert await world.sweeper.sweep() == 0, "its lease still holds"
    world.clock.advance(20_000)
    await world.sweeper.sweep()

    final = {Phase.TRY: State.TRIED, Phase.CONFIRM: State.CONFIRMED, Phase.CANCEL: State.CANCELLED}
    assert await world.state() is final[phase]
    looked, *performed = doorman.calls[calls:]
    assert looked == f"look up branch-1:{phase.value}"
    assert len(performed) == (1 if point == "before the call" else 0), "what happened is not done again"
    assert await world.ledger() == {Phase.TRY: (1, 0), Phase.CONFIRM: (0, 1), Phase.CANCEL: (0, 0)}[phase]


async def test_a_crash_of_a_try_that_is_cancelled_meanwhile_is_undone(world: World, doorman: Doorman) -> None:
    dying = await under_way(doorman, world.host.handle(world.command(Phase.TRY)))
    doorman._act(await pending_intent(world, Phase.TRY))
    assert (await world.cancel()).status_code == 202
    dying.cancel()
    await asyncio.wait((dying,))
    doorman.let_in.set()
    world.clock.advance(20_000)
    await world.sweeper.sweep()

    assert await world.state() is State.CANCELLED
    assert await world.ledger() == (0, 0)


async def test_a_repeat_takes_over_what_nobody_works_on(world: World, doorman: Doorman) -> None:
    dying = await under_way(doorman, world.host.handle(world.command(Phase.TRY)))
    dying.cancel()
    await asyncio.wait((dying,))
    doorman.let_in.set()
    assert (await world.try_()).status_code == 425
    world.clock.advance(20_000)

    assert (await world.try_()).status_code == 201
    assert doorman.calls[0] == "look up branch-1:try"


async def test_a_dead_try_is_not_tried_again_past_its_deadline(world: World, doorman: Doorman) -> None:
    dying = await under_way(doorman, world.host.handle(world.command(Phase.TRY)))
    dying.cancel()
    await asyncio.wait((dying,))
    doorman.let_in.set()
    world.clock.advance(700_000)

    assert (await world.try_()).status_code == 410
    world.coordinator.answers = [Decision(decision="cancel", reason="timed-out")]
    await world.sweeper.sweep()
    assert await world.state() is State.CANCELLED
    assert "perform branch-1:try" not in doorman.calls
    assert await world.ledger() == (0, 0)


async def test_an_answer_that_comes_after_another_took_over_changes_nothing(
    world: World, doorman: Doorman
) -> None:
    slow = await under_way(doorman, world.try_())
    world.clock.advance(20_000)
    doorman._act(await pending_intent(world, Phase.TRY))
    await world.sweeper.sweep()
    assert await world.state() is State.TRIED
    still_shut, doorman.let_in = doorman.let_in, asyncio.Event()
    doorman.let_in.set()
    assert (await world.confirm()).status_code == 204
    still_shut.set()

    assert (await slow).status_code == 201
    assert await world.state() is State.CONFIRMED
    assert await world.ledger() == (0, 1)


async def test_the_back_off_of_what_stays_unknown_is_capped(tmp_path: Path) -> None:
    gateway = Gateway(*[Fault.DIES_BEFORE] * 20)
    async with world_of(ToyCase(gateway), InlineDatabase(tmp_path / "effects.db")) as world:
        await world.try_(deadline=world.clock.now() + 86_400_000)
        swept: list[int] = []
        for _ in range(300):
            world.clock.advance(1_000)
            if await world.sweeper.sweep():
                swept.append(world.clock.now())
        pauses = [later - earlier for earlier, later in itertools.pairwise(swept)]

        assert pauses[:5] == [2_000, 4_000, 8_000, 16_000, 32_000]
        assert max(pauses) <= 60_000
        assert (await world.show())["inDoubt"] is True


async def test_a_call_that_never_ends_is_given_up(tmp_path: Path) -> None:
    gateway = Gateway(Fault.HANGS_AFTER)
    async with world_of(ToyCase(gateway), InlineDatabase(tmp_path / "effects.db")) as world:
        answer = await asyncio.wait_for(world.try_(), 10)

        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:handfast:problem:effect-unknown"
        assert (await world.show())["state"] == "TRYING"
        assert (await world.tried()).status_code == 201


async def test_a_rule_that_can_t_confirm_now_captures_once(world: World, doorman: Doorman) -> None:
    """The other side has captured, then the rule inside says: not now."""
    await world.try_()
    confirm = world.case.participant.on_confirm
    object.__setattr__(world.case.participant, "on_confirm", _not_now)
    assert (await world.confirm()).status_code == 503
    assert await world.state() is State.CONFIRMING
    object.__setattr__(world.case.participant, "on_confirm", confirm)

    assert (await world.confirm()).status_code == 204
    assert await world.ledger() == (0, 1)
    assert doorman.calls.count("perform branch-1:confirm") == 1


async def test_a_dead_letter_of_a_confirm_is_settled_when_the_sweeper_carries_it_out(world: World) -> None:
    """The other side has captured, the rule inside said "not now" until its record was given up."""
    await world.try_()
    confirm = world.case.participant.on_confirm
    object.__setattr__(world.case.participant, "on_confirm", _not_now)
    door = confirmation_listener(world.host, Retry.parse("fixed:1s,3"))
    [verdict] = await door.handle([record(world)])
    assert isinstance(verdict, Transient)
    object.__setattr__(world.case.participant, "on_confirm", confirm)
    now = world.clock.now()
    await world.database.write(
        lambda connection: letters.keep(
            connection,
            record(world),
            subject=Subject("branch-1", "tx-1"),
            failure=failure_of(verdict),
            attempts=4,
            group="toy",
            now=now,
            new_id=lambda: "letter",
        )
    )
    world.clock.advance(70_000)
    await world.sweeper.sweep()

    assert await world.state() is State.CONFIRMED
    letter = await world.database.read(lambda connection: letters.find(connection, "letter"))
    assert letter.state is letters.LetterState.SETTLED


async def test_a_standalone_confirm_calls_once_its_message_comes(world: World, doorman: Doorman) -> None:
    uri = (await world.standalone()).json()["uri"]
    assert (await world.client.put(uri)).status_code == 202
    assert not any("confirm" in call for call in doorman.calls)
    assert await deliver(world) == [None]

    assert (await world.client.put(uri)).status_code == 204
    assert await world.ledger() == (0, 1)


async def test_a_declined_standalone_confirm_is_published_again(tmp_path: Path) -> None:
    gateway = Gateway(declines=frozenset({Phase.CONFIRM}))
    async with world_of(ToyCase(gateway), InlineDatabase(tmp_path / "effects.db")) as world:
        uri = (await world.standalone()).json()["uri"]
        await world.client.put(uri)
        [verdict] = await deliver(world)
        assert isinstance(verdict, Conflict)
        world.clock.advance(10_000)
        assert await world.sweeper.sweep() == 1
        assert len(await world.outgoing()) == 2


async def test_a_batch_calls_the_other_side_at_once(world: World, doorman: Doorman) -> None:
    for number in range(10):
        await world.try_(f"branch-{number}")
    commands = [world.command(Phase.CONFIRM, f"branch-{number}") for number in range(10)]
    batch = await under_way(doorman, world.host.handle_batch(commands))
    await world.until(lambda: _all_confirming(world))
    doorman.let_in.set()
    answers = await batch

    assert [answer.state for answer in answers] == [State.CONFIRMED] * 10
    assert await world.ledger() == (0, 10)


async def test_a_confirm_without_an_answer_is_taken_and_carried_out_by_the_sweeper(tmp_path: Path) -> None:
    """Its record has done its duty: the decision is written down here, and no dead letter comes of it."""
    gateway = Gateway()
    async with world_of(ToyCase(gateway), InlineDatabase(tmp_path / "effects.db")) as world:
        uri = (await world.standalone()).json()["uri"]
        await world.client.put(uri)
        gateway._faults = (Fault.FORGETS, Fault.DIES_BEFORE)
        gateway._met.clear()
        assert await deliver(world) == [None]
        assert await world.state(uri.rpartition("/")[2]) is State.CONFIRMING
        for _ in range(5):
            world.clock.advance(70_000)
            await world.sweeper.sweep()

        assert await world.state(uri.rpartition("/")[2]) is State.CONFIRMED
        assert await world.ledger() == (0, 1)


async def test_a_duplicate_of_a_confirm_under_way_is_taken_too(world: World, doorman: Doorman) -> None:
    await world.standalone()
    [held] = await world.host.page(State.TRIED, "", 1)
    await world.client.put(f"{world.path}/{held.id}")
    first = await under_way(doorman, deliver(world))
    assert await deliver(world) == [None]
    doorman.let_in.set()

    assert await first == [None]
    assert doorman.calls.count(f"perform {held.id}:confirm") == 1
    assert await world.ledger() == (0, 1)


async def test_a_confirm_before_its_try_has_an_answer_is_tried_again(world: World, doorman: Doorman) -> None:
    """Nothing is decided here yet, so the record is all there is."""
    trying = await under_way(doorman, world.host.handle(world.command(Phase.TRY)))
    [verdict] = await confirmation_listener(world.host, Retry.parse("fixed:1s,3")).handle([record(world)])
    doorman.let_in.set()
    await trying

    assert isinstance(verdict, Transient)
    assert await world.state() is State.TRIED


@pytest.mark.parametrize("phase", [Phase.CONFIRM, Phase.CANCEL])
async def test_what_was_tried_without_an_effect_ends_without_one(
    world: World, doorman: Doorman, phase: Phase
) -> None:
    """The participant was given its effect since."""
    plain = replace(world.case.participant, effect=None)
    await served_as(world, plain).handle(world.command(Phase.TRY))
    await world.host.handle(world.command(phase))

    assert doorman.calls == []
    assert await world.state() is (State.CONFIRMED if phase is Phase.CONFIRM else State.CANCELLED)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("under_way_still", [False, True])
async def test_what_was_tried_with_an_effect_waits_for_it(
    world: World, doorman: Doorman, phase: Phase, under_way_still: bool
) -> None:
    """The participant has lost its effect since: nothing is settled behind the other side's back."""
    if under_way_still:
        dying = await under_way(doorman, world.host.handle(world.command(Phase.TRY)))
        dying.cancel()
        await asyncio.wait((dying,))
        doorman.let_in.set()
        world.clock.advance(20_000)
    else:
        await world.try_()
    before = await world.fence()
    plain = served_as(world, replace(world.case.participant, effect=None))
    if (phase, under_way_still) == (Phase.TRY, False):
        assert (await plain.handle(world.command(phase))).state is State.TRIED
    else:
        with pytest.raises(Transient) as error:
            await plain.handle(world.command(phase))
        assert error.value.slug in ("effect-missing", "effect-under-way")
    if under_way_still:
        with pytest.raises(Transient):
            await plain.recover("branch-1")

    assert await world.fence() == before


def served_as(world: World, participant: Participant[Any]) -> ParticipantHost[Any]:
    """Return a host of the world's participant as it was set up at another time."""
    world.case.participant, now = participant, world.case.participant
    try:
        return world.rehosted(world.database)
    finally:
        world.case.participant = now


async def _all_confirming(world: World) -> bool:
    return len(await world.host.page(State.CONFIRMING, "", 100)) == 10


async def pending_intent(world: World, phase: Phase) -> Intent[Any]:
    held = await world.fence()
    assert held is not None
    remembered = {} if phase is Phase.TRY else {"authorisation": "auth-branch-1"}
    return Intent(
        phase=phase,
        branch_id=held.id,
        transaction_id=held.transaction_id,
        claim=world.host.branches.claim_of(held),
        remembered=remembered,
    )


def _not_now(*_arguments: object) -> None:
    raise Transient("Not now.")
