"""Held orders: paid for once, called off once, whatever answer is lost and whoever is faster."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from order_service.domain import Status
from order_service.orders import Order
from shared.errors import NotFound, Refused, Transient
from shared.http.caller import Reply
from tests.unit.order.conftest import World, draft, eventually
from tests.unit.order.coordinator import declined


async def hold(world: World, seconds: int = 60, order_id: str = "o-1") -> Order:
    order = (await world.front_door.place(draft(hold=seconds, amount=5), order_id=order_id)).order
    assert order.status is Status.HELD
    world.coordinator.requests.clear()
    return order


async def refused(act: Callable[[], Awaitable[object]]) -> tuple[str, int]:
    with pytest.raises(Refused) as raised:
        await act()
    return raised.value.slug, raised.value.status


class TestPaying:
    """PUT."""

    async def test_paying_confirms(self, world: World) -> None:
        order = await hold(world)
        paid = await world.holds.pay("o-1")
        assert (paid.certain, paid.order.status) == (True, Status.CONFIRMING)
        assert await world.order("o-1") == paid.order
        added, confirmed = world.coordinator.requests
        assert (added.method, added.path) == ("POST", f"/{order.transaction_id}/branches")
        assert added.document == {
            "participant": "payment",
            "claim": {"customerId": "guest", "orderId": "o-1", "paymentAmt": 5},
            "key": "guest",
        }
        assert (confirmed.method, confirmed.path) == ("PUT", f"/{order.transaction_id}")

    async def test_paying_again_is_done_already(self, world: World) -> None:
        order = await hold(world)
        await world.holds.pay("o-1")
        world.coordinator.requests.clear()
        assert (await world.holds.pay("o-1")).order.status is Status.CONFIRMING
        world.confirm(order)
        assert (await world.holds.pay("o-1")).order.status is Status.CONFIRMED
        assert world.coordinator.requests == []

    async def test_an_order_that_was_bought_at_once_is_paid_already(self, world: World) -> None:
        await world.front_door.place(draft(), order_id="o-1")
        assert (await world.holds.pay("o-1")).certain

    async def test_twenty_payments_at_once_are_one(self, world: World) -> None:
        order = await hold(world)
        paid = await asyncio.gather(*(world.holds.pay("o-1") for _ in range(20)))
        assert {one.order.status for one in paid} == {Status.CONFIRMING}
        assert world.coordinator.transactions[order.transaction_id].branches.count("payment") == 1

    async def test_a_declined_payment_leaves_it_held_and_may_be_tried_again(self, world: World) -> None:
        await hold(world)
        world.coordinator.refusals["payment"] = declined("payment-declined", 402)
        for _ in range(2):
            assert await refused(lambda: world.holds.pay("o-1")) == ("payment-declined", 402)
            assert await world.status("o-1") is Status.HELD
        world.coordinator.refusals.clear()
        assert (await world.holds.pay("o-1")).order.status is Status.CONFIRMING

    async def test_an_unknown_payment_is_undecided_and_a_later_put_joins_it(self, world: World) -> None:
        order = await hold(world)
        world.coordinator.undecided = 1_000
        paid = await world.holds.pay("o-1")
        assert (paid.certain, paid.order.status) == (False, Status.HELD)
        world.coordinator.undecided = 0
        assert (await world.holds.pay("o-1")).order.status is Status.CONFIRMING
        assert world.coordinator.transactions[order.transaction_id].branches.count("payment") == 1

    @pytest.mark.parametrize("lost", [1, 2, 3])
    async def test_lost_answers_change_nothing(self, world: World, lost: int) -> None:
        await hold(world)
        world.coordinator.lose = lost
        assert (await world.holds.pay("o-1")).order.status is Status.CONFIRMING

    async def test_a_lost_decision_is_found_by_the_next_put(self, world: World) -> None:
        order = await hold(world)
        world.coordinator.decide(order.transaction_id, True)
        assert (await world.holds.pay("o-1")).order.status is Status.CONFIRMING

    async def test_paying_too_late_is_told_so(self, world: World) -> None:
        order = await hold(world)
        world.clock.pass_seconds(61)
        assert await refused(lambda: world.holds.pay("o-1")) == ("reservation-expired", 410)
        after = await world.order("o-1")
        assert (after.status, after.reason) == (Status.CANCELLING, "reservation-expired")
        world.cancel(order, "transaction-expired")
        assert await refused(lambda: world.holds.pay("o-1")) == ("reservation-expired", 410)

    async def test_too_late_moves_nothing_before_it_is_decided(self, world: World) -> None:
        await hold(world)
        transaction = next(iter(world.coordinator.transactions.values()))
        world.coordinator._add = lambda *_: Reply(410, {}, b"{}")  # type: ignore[method-assign]
        assert transaction.state == "TRIED"
        assert await refused(lambda: world.holds.pay("o-1")) == ("reservation-expired", 410)
        assert await world.status("o-1") is Status.HELD

    async def test_a_cancelled_order_is_not_paid_for(self, world: World) -> None:
        order = await hold(world)
        world.coordinator.decide(order.transaction_id, False, "cancelled")
        for _ in range(2):
            assert await refused(lambda: world.holds.pay("o-1")) == ("order-cancelled", 409)
        assert await world.status("o-1") is Status.CANCELLING

    async def test_a_refused_order_is_not_paid_for(self, world: World) -> None:
        world.coordinator.refusals["stock"] = declined("insufficient-stock", 409)
        await world.front_door.place(draft(hold=60), order_id="o-1")
        assert await refused(lambda: world.holds.pay("o-1")) == ("order-cancelled", 409)

    async def test_a_pending_order_is_not_held(self, world: World) -> None:
        world.coordinator.away = True
        await world.front_door.place(draft(), order_id="o-1")
        assert await refused(lambda: world.holds.pay("o-1")) == ("order-not-held", 409)

    async def test_a_decision_that_is_still_open_is_undecided(self, world: World) -> None:
        await hold(world)
        world.coordinator._confirm = lambda *_: Reply(409, {}, b"{}")  # type: ignore[method-assign]
        paid = await world.holds.pay("o-1")
        assert (paid.certain, paid.order.status) == (False, Status.HELD)

    async def test_waiting_ends_with_the_final_status(self, world: World) -> None:
        await hold(world)
        world.settles = True
        paid = await asyncio.wait_for(world.holds.pay("o-1", wait=20), 5)
        assert paid.order.status is Status.CONFIRMED

    async def test_an_unknown_order_is_not_found(self, world: World) -> None:
        with pytest.raises(NotFound):
            await world.holds.pay("o-1")


class TestCallingOff:
    """DELETE."""

    async def test_it_is_cancelled_once_it_is_released(self, world: World) -> None:
        await hold(world)
        world.settles = True
        assert (await world.holds.call_off("o-1")).status is Status.CANCELLED
        world.coordinator.requests.clear()
        assert (await world.holds.call_off("o-1")).status is Status.CANCELLED
        assert world.coordinator.requests == []

    async def test_it_is_cancelling_while_that_takes_long(self, world: World) -> None:
        order = await hold(world)
        after = await world.holds.call_off("o-1")
        assert (after.status, after.reason) == (Status.CANCELLING, "cancelled-by-customer")
        world.cancel(order)
        assert (await world.holds.call_off("o-1")).status is Status.CANCELLED
        assert (await world.order("o-1")).reason == "cancelled-by-customer"

    async def test_it_ends_as_soon_as_it_is_released(self, world: World) -> None:
        order = await hold(world)
        world.holds._release_seconds = 20
        task = asyncio.create_task(world.holds.call_off("o-1"))
        await eventually(lambda: world.is_now("o-1", Status.CANCELLING))
        world.cancel(order)
        assert (await asyncio.wait_for(task, 5)).status is Status.CANCELLED

    async def test_an_expired_hold_is_called_off_all_the_same(self, world: World) -> None:
        await hold(world)
        world.clock.pass_seconds(61)
        world.settles = True
        assert (await world.holds.call_off("o-1")).status is Status.CANCELLED

    async def test_a_lost_answer_is_asked_for_again(self, world: World) -> None:
        await hold(world)
        world.settles = True
        world.coordinator.lose = 1
        assert (await world.holds.call_off("o-1")).status is Status.CANCELLED

    async def test_a_confirmed_order_is_not_called_off(self, world: World) -> None:
        order = await hold(world)
        world.coordinator.decide(order.transaction_id, True)
        assert await refused(lambda: world.holds.call_off("o-1")) == ("order-confirmed", 409)
        assert await world.status("o-1") is Status.CONFIRMING
        world.confirm(order)
        assert await refused(lambda: world.holds.call_off("o-1")) == ("order-confirmed", 409)

    async def test_an_order_that_was_bought_at_once_is_not_called_off(self, world: World) -> None:
        await world.front_door.place(draft(), order_id="o-1")
        assert await refused(lambda: world.holds.call_off("o-1")) == ("order-confirmed", 409)

    async def test_a_pending_order_is_not_held(self, world: World) -> None:
        world.coordinator.away = True
        await world.front_door.place(draft(), order_id="o-1")
        assert await refused(lambda: world.holds.call_off("o-1")) == ("order-not-held", 409)

    async def test_nothing_is_promised_while_the_coordinator_is_away(self, world: World) -> None:
        await hold(world)
        world.coordinator.away = True
        with pytest.raises(Transient) as raised:
            await world.holds.call_off("o-1")
        assert raised.value.status == 503
        assert await world.status("o-1") is Status.HELD

    async def test_paying_and_calling_off_at_once_agree(self, world: World) -> None:
        for number in range(10):
            await hold(world, order_id=f"o-{number}")
            acts = [world.holds.pay(f"o-{number}"), world.holds.call_off(f"o-{number}")]
            if number % 2:
                acts.reverse()
            world.settles = True
            results = await asyncio.gather(*acts, return_exceptions=True)
            assert sum(isinstance(one, Refused) for one in results) == 1
            [transaction] = [
                one
                for one in world.coordinator.transactions.values()
                if one.body["branches"][0]["claim"]["orderId"] == f"o-{number}"
            ]
            assert (await world.status(f"o-{number}")).value == transaction.state
