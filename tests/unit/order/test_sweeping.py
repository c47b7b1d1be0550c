"""No order is left behind: whatever crashed, the sweeper finds out what became of it."""

import asyncio
import contextlib

import pytest

from order_service.domain import Status
from order_service.orders import SETTLE_MS, Order
from order_service.sweeper import MOST
from shared.errors import DatabaseUnavailable
from tests.unit.order.conftest import GRACE, PATIENCE, World, draft, eventually


async def pending(world: World, order_id: str = "o-1", hold: int | None = None) -> Order:
    """An order whose front door died before it asked."""
    placed = await world.front_door._write_down(draft(hold=hold), order_id, None)
    assert placed.order.status is Status.PENDING
    return placed.order


async def begun(world: World, order_id: str = "o-1", hold: int | None = None) -> Order:
    """An order whose front door died before it heard the answer."""
    order = await pending(world, order_id, hold)
    ask = world.front_door._progress
    world.front_door._progress = _Deaf()  # type: ignore[assignment]
    with contextlib.suppress(_Died):
        await world.front_door._ask(order)
    world.front_door._progress = ask
    assert await world.status(order_id) is Status.PENDING
    return order


class _Died(Exception):
    pass


class _Deaf:
    def __getattr__(self, name: str) -> object:
        raise _Died


async def test_an_order_is_left_alone_while_its_front_door_speaks_for_it(world: World) -> None:
    await pending(world)
    world.clock.pass_seconds(PATIENCE + GRACE / 1_000 - 0.1)
    assert await world.sweeper.sweep() == 0
    world.clock.pass_seconds(0.1)
    assert await world.sweeper.sweep() == 1


async def test_an_order_whose_transaction_never_began_is_cancelled(world: World) -> None:
    order = await pending(world)
    world.clock.pass_seconds(10)
    await world.sweeper.sweep()
    after = await world.order("o-1")
    assert (after.status, after.reason, after.due_at) == (Status.CANCELLED, "transaction-unknown", None)
    # The word was durable: a front door that wakes up now is told the same.
    late = await world.front_door._ask(order)
    assert late.status is Status.CANCELLED


async def test_a_cancelled_order_that_heard_of_it_by_409_does_not_dangle(world: World) -> None:
    order = await pending(world)
    inquiry = await world.front_door._coordinator.inquire(order.transaction_id, seconds=1)
    assert inquiry.decision == "cancel"
    after = await world.front_door._ask(order)
    # No branch was ever tried, so no participant will hear of it.
    assert after.status is Status.CANCELLING
    world.clock.pass_seconds(SETTLE_MS / 1_000)
    await world.sweeper.sweep()
    assert await world.status("o-1") is Status.CANCELLED


async def test_an_order_whose_answer_was_lost_is_confirmed(world: World) -> None:
    order = await begun(world)
    world.clock.pass_seconds(10)
    await world.sweeper.sweep()
    assert await world.status("o-1") is Status.CONFIRMING
    world.confirm(order)
    assert await world.status("o-1") is Status.CONFIRMED


async def test_a_hold_whose_answer_was_lost_is_held_and_can_be_paid(world: World) -> None:
    order = await begun(world, hold=60)
    world.clock.pass_seconds(10)
    await world.sweeper.sweep()
    after = await world.order("o-1")
    deadline = world.coordinator.transactions[order.transaction_id].deadline
    assert (after.status, after.expires_at, after.due_at) == (Status.HELD, deadline, deadline + GRACE)
    assert (await world.holds.pay("o-1")).order.status is Status.CONFIRMING


async def test_a_hold_that_nobody_pays_for_expires(world: World) -> None:
    order = (await world.front_door.place(draft(hold=60), order_id="o-1")).order
    world.clock.pass_seconds(60 + GRACE / 1_000)
    await world.sweeper.sweep()
    after = await world.order("o-1")
    assert (after.status, after.reason) == (Status.CANCELLING, "reservation-expired")
    world.cancel(order, "transaction-expired")
    assert (await world.order("o-1")).reason == "reservation-expired"


async def test_an_undecided_transaction_is_asked_about_again_after_its_deadline(world: World) -> None:
    order = await begun(world)
    transaction = world.coordinator.transactions[order.transaction_id]
    transaction.state = "TRYING"
    transaction.deadline = world.clock.now() + 60_000
    world.clock.pass_seconds(10)
    await world.sweeper.sweep()
    after = await world.order("o-1")
    assert (after.status, after.attempts, after.due_at) == (Status.PENDING, 1, transaction.deadline + GRACE)
    world.clock.pass_seconds(60)
    await world.sweeper.sweep()
    assert (await world.order("o-1")).reason == "transaction-expired"


async def test_a_decided_order_that_takes_long_is_looked_at_seldom(world: World) -> None:
    await world.front_door.place(draft(), order_id="o-1")
    asked = 0
    for _ in range(3_600):
        world.clock.pass_seconds(1)
        asked += await world.sweeper.sweep()
        assert await world.status("o-1") is Status.CONFIRMING
    assert 3 < asked < 30


async def test_an_order_restored_from_a_backup_follows_what_was_settled(world: World) -> None:
    for order_id, confirm in (("o-1", True), ("o-2", False)):
        order = await begun(world, order_id, hold=60)
        world.coordinator.decide(order.transaction_id, confirm, None if confirm else "payment-declined")
        world.coordinator.settle(order.transaction_id)
    world.clock.pass_seconds(10)
    await world.sweeper.sweep()
    assert await world.status("o-1") is Status.CONFIRMED
    after = await world.order("o-2")
    assert (after.status, after.reason) == (Status.CANCELLED, "payment-declined")


async def test_a_coordinator_out_of_reach_leaves_everything_as_it_is(world: World) -> None:
    for number in range(25):
        await pending(world, f"o-{number}")
    world.clock.pass_seconds(10)
    world.coordinator.away = True
    assert await world.sweeper.sweep() == 0
    world.coordinator.away = False
    statuses = {await world.status(f"o-{number}") for number in range(25)}
    assert statuses == {Status.PENDING}
    world.clock.pass_seconds(10)
    assert await world.sweeper.sweep() == 25


async def test_a_backlog_is_worked_off(world: World) -> None:
    for number in range(MOST + 30):
        await pending(world, f"o-{number}")
    world.clock.pass_seconds(10)
    assert await world.sweeper.sweep() == MOST
    assert await world.sweeper.sweep() == 30
    assert await world.sweeper.sweep() == 0


async def _swept(world: World) -> bool:
    with contextlib.suppress(DatabaseUnavailable):
        return await world.is_now("o-1", Status.CANCELLED)
    return False


async def test_the_sweeper_survives_a_database_that_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await pending(world)
    world.clock.pass_seconds(10)
    write, failures = world.database.write, iter(range(3))

    async def flaky(work):  # type: ignore[no-untyped-def]
        if next(failures, None) is not None:
            raise DatabaseUnavailable
        return await write(work)

    monkeypatch.setattr(world.database, "write", flaky)
    task = asyncio.create_task(world.sweeper.run())
    try:
        await eventually(lambda: _swept(world))
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert "can't be swept now" in caplog.text
