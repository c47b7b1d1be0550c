"""The sweeper: an expired reservation is asked about, or expires by itself where nobody else decides."""

import asyncio
import itertools
import logging
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from shared.clock import iso
from shared.database.port import Database, Work
from shared.errors import DatabaseUnavailable, Unreachable
from shared.messaging import letters
from shared.messaging.broker import Record
from shared.messaging.failure import failure_of
from shared.messaging.listener import Subject
from shared.tcc import sweeper as sweeper_module
from shared.tcc.inquiry import Decision
from shared.tcc.protocol import State
from tests.contract.test_standalone import deliver
from tests.contract.world import World

T = TypeVar("T")
AWAY = Unreachable("Nobody there.")


async def expired(world: World) -> None:
    """Have one coordinated reservation, past its expiry."""
    await world.tried()
    world.clock.advance(700_000)


async def sweep_until(world: World, state: State) -> None:
    for _ in range(20):
        await world.sweeper.sweep()
        if await world.state() is state:
            return
        world.clock.advance(70_000)
    raise AssertionError(f"it stays {await world.state()}")


async def test_nothing_is_swept_before_its_time(world: World) -> None:
    await world.tried()
    world.clock.advance(500_000)

    assert await world.sweeper.sweep() == 0
    assert world.coordinator.asked == []


async def test_an_expired_branch_is_cancelled_when_the_coordinator_says_so(world: World) -> None:
    await expired(world)
    world.coordinator.answers = [Decision(decision="cancel", state="CANCELLED", reason="timed-out")]
    await sweep_until(world, State.CANCELLED)

    assert world.coordinator.asked == [("tx-1", "branch-1")]
    assert (await world.show())["reason"] == "timed-out"
    assert await world.ledger() in ((0, 0), (None, 0))
    assert await world.sweeper.sweep() == 0, "nothing is left to sweep"


async def test_an_expired_branch_is_confirmed_when_the_coordinator_says_so(world: World) -> None:
    await expired(world)
    world.coordinator.answers = [Decision(decision="confirm", state="CONFIRMING")] * 5
    await sweep_until(world, State.CONFIRMED)

    assert await world.ledger() in ((0, 1), (None, 1))
    assert [message.topic for message in await world.outgoing()] == ["tcc-outcomes"]
    assert await world.sweeper.sweep() == 0


async def test_an_expired_branch_is_held_while_the_coordinator_says_wait(world: World) -> None:
    await expired(world)
    world.coordinator.answers = [
        Decision(decision="wait", state="TRYING", deadline=iso(world.clock.now() + 10_000))
    ]
    await world.sweeper.sweep()
    world.clock.advance(9_999)
    await world.sweeper.sweep()

    assert len(world.coordinator.asked) == 1, "it is asked again only at the coordinator's deadline"
    assert await world.state() is State.TRIED
    assert "inDoubt" not in await world.show()
    world.coordinator.answers = [Decision(decision="cancel")]
    await sweep_until(world, State.CANCELLED)


async def test_an_expired_branch_is_held_and_in_doubt_while_the_coordinator_is_away(world: World) -> None:
    await expired(world)
    before = await world.ledger()
    asked_at: list[int] = []
    world.coordinator.answers = [AWAY] * 1_000
    for _ in range(600):
        if len(world.coordinator.asked) > len(asked_at):
            asked_at.append(world.clock.now())
        await world.sweeper.sweep()
        world.clock.advance(1_000)

    assert await world.state() is State.TRIED
    assert (await world.show())["inDoubt"] is True
    assert await world.ledger() == before
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked_at)]
    assert len(asked_at) < 30, "it backs off"
    assert max(pauses) <= 62_000, "but not for ever"
    assert pauses[-1] >= 29_000
    world.coordinator.answers = [Decision(decision="cancel")]
    await sweep_until(world, State.CANCELLED)
    assert "inDoubt" not in await world.show()


async def test_many_in_doubt_are_not_asked_about_all_at_once(toy: World) -> None:
    for number in range(40):
        await toy.try_(f"branch-{number}")
    toy.clock.advance(700_000)
    toy.coordinator.answers = [AWAY] * 40
    await toy.sweeper.sweep()
    due = [held.due_at for held in await toy.host.page(State.TRIED, "", 100)]

    assert len(set(due)) > 20, "jitter spreads them"


async def test_a_decision_that_arrives_meanwhile_is_kept(toy: World) -> None:
    await expired(toy)
    confirmed = asyncio.Event()

    class Slow:
        async def ask(self, _transaction_id: str, _branch_id: str) -> Decision:
            await confirmed.wait()
            return Decision(decision="wait")

    toy.sweeper._inquirer = Slow()
    sweeping = asyncio.create_task(toy.sweeper.sweep())
    await toy.confirm()
    confirmed.set()
    await sweeping

    assert await toy.state() is State.CONFIRMED
    held = await toy.fence()
    assert held is not None
    assert held.due_at is None


async def test_a_contradiction_raises_an_alarm_and_is_asked_about_again(toy: World) -> None:
    await expired(toy)

    class Lying:
        async def ask(self, _transaction_id: str, _branch_id: str) -> Decision:
            await toy.confirm()
            return Decision(decision="cancel")

    toy.sweeper._inquirer = Lying()
    await toy.sweeper.sweep()

    assert await toy.state() is State.CONFIRMED
    assert toy.conflicts() == 1


async def test_one_broken_branch_does_not_stop_the_others(
    toy: World, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        await toy.try_(f"branch-{number}")
    toy.clock.advance(700_000)

    class Picky:
        async def ask(self, _transaction_id: str, branch_id: str) -> Decision:
            if branch_id == "branch-2":
                raise ZeroDivisionError
            return Decision(decision="cancel")

    toy.sweeper._inquirer = Picky()
    await toy.sweeper.sweep()

    assert [held.id for held in await toy.host.page(State.TRIED, "", 100)] == ["branch-2"]
    assert "branch-2 could not be swept" in caplog.text
    assert await toy.sweeper.sweep() == 0, "it is put off"
    assert any(record.levelno == logging.ERROR for record in caplog.records)


async def test_an_expired_standalone_reservation_expires_by_itself(standalone: World) -> None:
    uri = (await standalone.standalone(seconds=30)).json()["uri"]
    standalone.clock.advance(30_000)
    await standalone.sweeper.sweep()
    shown = (await standalone.client.get(uri)).json()

    assert (shown["state"], shown["reason"]) == ("CANCELLED", "expired")
    assert standalone.coordinator.asked == []
    assert await standalone.ledger() == (0, 0)
    assert (await standalone.client.put(uri)).json()["type"].endswith(":reservation-expired")
    assert (await standalone.client.delete(uri)).status_code == 204


async def test_a_confirming_one_never_expires_and_is_published_again(standalone: World) -> None:
    uri = (await standalone.standalone(seconds=30)).json()["uri"]
    await standalone.client.put(uri)
    published: list[int] = []
    start = standalone.clock.now()
    for _ in range(1_500):
        standalone.clock.advance(1_000)
        if await standalone.sweeper.sweep():
            published.append((standalone.clock.now() - start) // 1_000)

    assert published[:6] == [10, 30, 70, 150, 310, 610], "after 10 s, doubling to 5 min"
    assert published[6:] == [910, 1_210]
    assert len(await standalone.outgoing()) == 1 + len(published)
    await deliver(standalone)
    assert (await standalone.client.get(uri)).json()["state"] == "CONFIRMED"
    assert await standalone.ledger() == (0, 1)


async def test_one_that_was_applied_since_it_was_found_due_is_left_alone(toy: World) -> None:
    branch_id = (await toy.standalone()).json()["id"]
    await toy.client.put(f"{toy.path}/{branch_id}")
    toy.clock.advance(10_000)
    found_due = await toy.fence(branch_id)
    assert found_due is not None
    await deliver(toy)
    await toy.sweeper._attend(found_due)

    assert len(await toy.outgoing()) == 1
    held = await toy.fence(branch_id)
    assert held is not None
    assert (held.state, held.due_at) == (State.CONFIRMED, None)


async def test_a_confirming_one_is_not_published_again_while_its_letter_is_open(toy: World) -> None:
    branch_id = (await toy.standalone()).json()["id"]
    await toy.client.put(f"{toy.path}/{branch_id}")
    [message] = await toy.outgoing()
    about = Record(message.topic, 0, 0, 0, 0, message.key, message.value, message.headers)

    def bury(connection: Connection) -> None:
        letters.keep(
            connection,
            about,
            subject=Subject(branch_id),
            failure=failure_of(AWAY),
            attempts=4,
            group="toy",
            now=toy.clock.now(),
            new_id=lambda: "letter",
        )

    await toy.database.write(bury)
    toy.clock.advance(10_000)
    assert await toy.sweeper.sweep() == 1
    assert len(await toy.outgoing()) == 1

    await toy.database.write(lambda connection: letters.settle(connection, message.topic, [branch_id], 1))
    toy.clock.advance(300_000)
    assert await toy.sweeper.sweep() == 1
    assert len(await toy.outgoing()) == 2


async def test_a_confirm_by_inquiry_settles_its_dead_letter(toy: World) -> None:
    await expired(toy)
    topic = toy.case.participant.topic

    def bury(connection: Connection) -> None:
        letters.keep(
            connection,
            Record(topic, 0, 0, 0, 0, b"key", b"value"),
            subject=Subject("branch-1", "tx-1"),
            failure=failure_of(AWAY),
            attempts=4,
            group="toy",
            now=toy.clock.now(),
            new_id=lambda: "letter",
        )

    await toy.database.write(bury)
    toy.coordinator.answers = [Decision(decision="confirm")]
    await toy.sweeper.sweep()

    letter = await toy.database.read(lambda connection: letters.find(connection, "letter"))
    assert letter.state is letters.LetterState.SETTLED


async def test_it_goes_on_when_the_database_comes_back(
    toy: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sweeper_module, "BATCH", 3)
    for number in range(8):
        await toy.try_(f"branch-{number}")
    toy.clock.advance(700_000)
    toy.coordinator.answers = [Decision(decision="cancel")] * 8
    flaky = Flaky(toy.database)
    toy.host.database = flaky
    toy.sweeper._sweep_seconds = 0.001
    running = asyncio.create_task(toy.sweeper.run())

    async def swept() -> bool:
        flaky.away = False
        return not await toy.host.page(State.TRIED, "", 1)

    await toy.until(lambda: _said(caplog, "put off"))
    await toy.until(swept)
    running.cancel()
    await asyncio.wait((running,))

    assert await toy.ledger() == (0, 0)


async def _said(caplog: pytest.LogCaptureFixture, what: str) -> bool:
    return what in caplog.text


class Flaky:
    """A database that is away until told otherwise."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.away = True

    async def start(self) -> None:
        raise NotImplementedError

    async def write(self, work: Work[T]) -> T:
        if self.away:
            raise DatabaseUnavailable
        return await self._database.write(work)

    async def read(self, work: Work[T]) -> T:
        if self.away:
            raise DatabaseUnavailable
        return await self._database.read(work)

    def on_commit(self, _listener: object) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
