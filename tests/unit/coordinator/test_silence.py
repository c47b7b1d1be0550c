"""A participant that answers nobody: its transactions wait in the log, and everybody else goes on."""

import asyncio
from collections.abc import Awaitable, Callable

from coordinator import log
from coordinator.breaker import UNANSWERED
from coordinator.transaction import FINAL, State, Transaction
from shared.http.caller import Reply
from tests.simulation.loop import run_virtually
from tests.unit.coordinator.world import LOST, World, problem, world

STUCK = 1_000


def virtually(story: Callable[[World], Awaitable[None]], calls_in_flight: int = 256) -> None:
    async def run() -> None:
        async with world("rest", calls_in_flight=calls_in_flight) as one:
            await story(one)

    run_virtually(run())


async def stick(one: World, count: int = STUCK) -> None:
    """Have transactions decided that payment can't be told: it answers Trys for a while, and then nobody."""
    one.caller.script("PUT", "payment", LOST)
    one.caller.script("DELETE", "payment", LOST)
    for start in range(0, count, 100):
        names = [f"stuck-{number}" for number in range(start, min(start + 100, count))]
        await asyncio.gather(*(one.begin(name, "stock", "payment") for name in names))
    await asyncio.sleep(30)
    one.caller.script("POST", "payment", LOST)


def answer(one: World) -> None:
    """Have payment answer again."""
    for method, status in (("POST", 201), ("PUT", 204), ("DELETE", 204)):
        one.caller.script(method, "payment", Reply(status))


async def all_of(one: World, prefix: str) -> list[Transaction]:
    found = await one.database.read(
        lambda connection: log.page(connection, state=None, attention=None, after=None, most=2 * STUCK)
    )
    return [transaction for transaction in found if transaction.transaction_id.startswith(prefix)]


def test_what_waits_for_it_is_neither_called_nor_written_while_it_is_silent() -> None:
    async def story(one: World) -> None:
        await stick(one)
        before = await all_of(one, "stuck")
        assert {transaction.state for transaction in before} == {State.CONFIRMING, State.CANCELLING}
        calls = len(one.caller.calls)
        await asyncio.sleep(60)
        after = await all_of(one, "stuck")
        # A probe every two seconds, which itself takes two, is all.
        assert len(one.caller.calls) - calls <= 20
        assert sum(one.version != other.version for one, other in zip(before, after, strict=True)) <= 20

    virtually(story)


def test_transactions_that_do_not_touch_it_take_as_long_as_ever() -> None:
    async def story(one: World) -> None:
        await stick(one)
        began = one.clock.now()
        await asyncio.gather(*(one.begin(f"other-{number}", "order", "stock") for number in range(100)))
        await asyncio.sleep(0.5)
        others = await all_of(one, "other")
        assert {transaction.state for transaction in others} == {State.CONFIRMED}
        assert max(transaction.updated_at for transaction in others) - began < 200

    virtually(story)


def test_once_it_answers_again_all_that_wait_are_settled_within_seconds() -> None:
    async def story(one: World) -> None:
        await stick(one)
        await asyncio.sleep(600)
        answer(one)
        await asyncio.sleep(10)
        states = {transaction.state for transaction in await all_of(one, "stuck")}
        assert states == {State.CONFIRMED, State.CANCELLED}

    virtually(story)


def test_what_another_driver_put_off_is_found_after_its_end() -> None:
    async def story(one: World) -> None:
        await stick(one, 20)
        await one.stop()
        # Who has never heard of the silence takes over: nobody recovers under its eyes.
        other = World("rest", one.database)
        other.recovering = asyncio.create_task(other.driver.run())
        await asyncio.sleep(10)
        await other.stop()
        assert other.caller.count("PUT", "payment") == 20
        assert {transaction.state for transaction in await all_of(one, "stuck")} == {State.CONFIRMED}

    virtually(story)


def test_nobody_is_kept_waiting_for_it() -> None:
    async def story(one: World) -> None:
        await stick(one, 20)
        began = one.clock.now()
        transaction, _ = await one.begin("late", "stock", "payment")
        assert transaction.state is State.TRYING
        assert one.clock.now() - began < 100
        # Nobody decides for it but its own deadline.
        await asyncio.sleep(10)
        assert (await one.coordinator.show("late")).state is State.CANCELLING

    virtually(story)


def test_a_try_that_waited_goes_out_as_soon_as_it_answers_again() -> None:
    async def story(one: World) -> None:
        await stick(one, 20)
        await one.begin("late", "stock", "payment")
        answer(one)
        transaction = await one.coordinator.wait_final(await one.coordinator.show("late"), 8.0)
        assert transaction.state is State.CONFIRMED

    virtually(story)


def test_one_bad_transaction_does_not_silence_its_participant() -> None:
    async def story(one: World) -> None:
        one.caller.script("POST", "payment", problem("payment-declined", 402))
        one.caller.script("DELETE", "stock", LOST)
        await one.begin("bad", "stock", "payment")
        await asyncio.sleep(120)
        assert one.caller.count("DELETE", "stock") > UNANSWERED
        one.caller.script("POST", "payment", Reply(201))
        transaction, _ = await one.begin("good", "stock", "payment")
        assert transaction.state is State.CONFIRMING

    virtually(story)


def test_with_all_hands_full_a_decision_waits_in_the_log_and_a_try_for_its_turn() -> None:
    async def story(one: World) -> None:
        one.caller.script("PUT", "payment", Reply(204), delay=0.1)
        one.caller.script("POST", "payment", Reply(201), delay=0.1)
        began = await asyncio.gather(*(one.begin(f"t{number}", "payment") for number in range(10)))
        assert {transaction.state for transaction, _ in began} == {State.CONFIRMING}
        await asyncio.sleep(3)
        assert {transaction.state for transaction in await all_of(one, "t")} <= FINAL
        assert one.caller.count("PUT", "payment") == 10

    virtually(story, calls_in_flight=2)


def test_what_is_under_way_is_handed_back_when_the_driver_stops() -> None:
    async def story(one: World) -> None:
        one.caller.script("PUT", "payment", LOST, delay=1.9)
        await one.begin("t", "payment")
        await asyncio.sleep(0.5)
        assert await due_in(one) > 1_000
        await one.driver.stop()
        assert await due_in(one) == 0

    virtually(story)


async def due_in(one: World) -> int:
    """Return in how many milliseconds somebody else may take up the one transaction."""
    sql = "SELECT due_at FROM tcc_transaction"
    due_at = await one.database.read(lambda connection: connection.exec_driver_sql(sql).scalar_one())
    return int(due_at) - one.clock.now()
