"""Orders through all four programs: each ends as the contract says, and leaves nothing held."""

import asyncio

import httpx
import pytest

from tests.integration.order.conftest import House


def slug(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["type"].removeprefix("urn:handfast:problem:")


async def test_an_order_is_confirmed_everywhere(house: House) -> None:
    placed = await house.place("o-1", qty=3)
    assert (placed.status_code, placed.json()["status"]) == (201, "CONFIRMING")
    await house.until_status("o-1", "CONFIRMED")
    # The order settles last, so that everybody else has settled by now.
    assert await house.levels() == (0, 3, 0)
    account = await house.read("payment", "/accounts/guest")
    assert (account["balance"], account["captured"]) == (95, 5)


async def test_prefer_wait_answers_with_the_final_status(house: House) -> None:
    body = {"productId": "2", "qty": 1, "paymentAmt": 5}
    response = await house.call("order", "POST", "/orders", body, prefer="wait=30")
    assert (response.status_code, response.json()["status"]) == (201, "CONFIRMED")


async def test_an_order_of_nothing_is_confirmed(house: House) -> None:
    assert (await house.place("o-1", paymentAmt=0)).status_code == 201
    await house.until_status("o-1", "CONFIRMED")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"qty": 11}, (409, "insufficient-stock")),
        ({"productId": "none"}, (422, "unknown-product")),
        ({"paymentAmt": 101}, (402, "payment-declined")),
        ({"customerId": "nobody"}, (402, "payment-declined")),
    ],
)
async def test_a_refused_order_is_cancelled_everywhere(
    house: House, changes: dict[str, object], expected: tuple[int, str]
) -> None:
    response = await house.place("o-1", **changes)
    assert slug(response) == expected
    order = await house.until_status("o-1", "CANCELLED")
    assert order["reason"] == expected[1]
    assert await house.levels() == (0, 0, 0)
    again = await house.place("o-1", **changes)
    assert again.json() == response.json()


async def test_twenty_times_the_same_order_is_one(house: House) -> None:
    responses = await asyncio.gather(*(house.place("o-1") for _ in range(20)))
    assert sorted(response.status_code for response in responses) == [200] * 19 + [201]
    await house.until_status("o-1", "CONFIRMED")
    assert await house.levels() == (0, 1, 0)


async def test_more_orders_than_goods_sell_what_there_is(house: House) -> None:
    responses = await asyncio.gather(*(house.place(f"o-{number}", paymentAmt=1) for number in range(25)))
    assert sorted(response.status_code for response in responses) == [201] * 10 + [409] * 15
    for number, response in enumerate(responses):
        await house.until_status(f"o-{number}", "CONFIRMED" if response.status_code == 201 else "CANCELLED")
    assert await house.levels() == (0, 10, 0)


class TestHolds:
    """Hold, pay, call off, expire."""

    async def test_a_hold_is_paid_for(self, house: House) -> None:
        held = await house.place("o-1", hold={"seconds": 60})
        assert (held.status_code, held.json()["status"]) == (201, "HELD")
        assert await house.levels() == (1, 0, 0)
        paid = await house.call("order", "PUT", "/orders/o-1")
        assert (paid.status_code, paid.json()["status"]) == (200, "CONFIRMING")
        await house.until_status("o-1", "CONFIRMED")
        assert await house.levels() == (0, 1, 0)
        assert (await house.call("order", "PUT", "/orders/o-1")).status_code == 200
        assert slug(await house.call("order", "DELETE", "/orders/o-1")) == (409, "order-confirmed")

    async def test_a_declined_payment_may_be_tried_again(self, house: House) -> None:
        await house.place("o-1", hold={"seconds": 60}, customerId="poor")
        for _ in range(2):
            assert slug(await house.call("order", "PUT", "/orders/o-1")) == (402, "payment-declined")
            assert (await house.order("o-1"))["status"] == "HELD"
        await house.call("payment", "PUT", "/accounts/poor", {"balance": 5})
        paid = await house.call("order", "PUT", "/orders/o-1", prefer="wait=30")
        assert (paid.status_code, paid.json()["status"]) == (200, "CONFIRMED")

    async def test_twenty_payments_take_the_money_once(self, house: House) -> None:
        await house.place("o-1", hold={"seconds": 60})
        paid = await asyncio.gather(*(house.call("order", "PUT", "/orders/o-1") for _ in range(20)))
        assert {response.status_code for response in paid} == {200}
        await house.until_status("o-1", "CONFIRMED")
        assert (await house.read("payment", "/accounts/guest"))["captured"] == 5

    async def test_a_hold_is_called_off(self, house: House) -> None:
        await house.place("o-1", hold={"seconds": 60})
        assert (await house.call("order", "DELETE", "/orders/o-1")).status_code == 204
        order = await house.order("o-1")
        assert (order["status"], order["reason"]) == ("CANCELLED", "cancelled-by-customer")
        assert await house.levels() == (0, 0, 0)
        assert (await house.call("order", "DELETE", "/orders/o-1")).status_code == 204
        assert slug(await house.call("order", "PUT", "/orders/o-1")) == (409, "order-cancelled")

    async def test_a_hold_that_nobody_pays_for_expires(self, house: House) -> None:
        await house.place("o-1", hold={"seconds": 60})
        house.clock.pass_seconds(61)
        order = await house.until_status("o-1", "CANCELLED")
        assert order["reason"] == "reservation-expired"
        assert await house.levels() == (0, 0, 0)
        assert slug(await house.call("order", "PUT", "/orders/o-1")) == (410, "reservation-expired")
        assert (await house.call("order", "DELETE", "/orders/o-1")).status_code == 204

    async def test_paying_while_the_payment_is_away_is_uncertain_and_joined_later(self, house: House) -> None:
        await house.place("o-1", hold={"seconds": 60})
        await house.be_patient(0.5)
        await house.stop("payment")
        unknown = await house.call("order", "PUT", "/orders/o-1")
        assert (unknown.status_code, unknown.json()["status"]) == (202, "HELD")
        await house.start("payment")

        async def paid() -> bool:
            return (await house.call("order", "PUT", "/orders/o-1")).status_code == 200

        await house.until(paid)
        await house.until_status("o-1", "CONFIRMED")
        account = await house.read("payment", "/accounts/guest")
        assert (account["captured"], account["held"]) == (5, 0)


class TestCrashes:
    """Somebody is away when he is needed."""

    async def test_an_order_placed_while_the_coordinator_is_away_is_confirmed_by_its_repeat(
        self, house: House
    ) -> None:
        await house.be_patient(0.5)
        await house.stop("coordinator")
        placed = await house.place("o-1")
        assert (placed.status_code, placed.json()["status"]) == (202, "PENDING")
        await house.start("coordinator")
        await house.be_patient(10)
        again = await house.place("o-1")
        assert (again.status_code, again.json()["status"]) == (200, "CONFIRMING")
        await house.until_status("o-1", "CONFIRMED")

    async def test_an_order_that_nobody_repeats_is_cancelled(self, house: House) -> None:
        await house.be_patient(0.5)
        await house.stop("coordinator")
        await house.place("o-1")
        await house.start("coordinator")
        house.clock.pass_seconds(10)
        order = await house.until_status("o-1", "CANCELLED")
        assert order["reason"] == "transaction-unknown"
        transaction = await house.read("coordinator", f"/transactions/{order['transactionId']}")
        assert transaction["state"] == "CANCELLED"

    async def test_an_order_service_that_stops_after_asking_finds_out(self, house: House) -> None:
        await house.be_patient(0.5)
        await house.stop("stock")
        placing = asyncio.create_task(house.place("o-1"))

        async def trying() -> bool:
            return bool((await house.read("coordinator", "/transactions"))["items"])

        await house.until(trying)
        await house.stop("order")
        await asyncio.wait((placing,))
        await house.start("stock")
        await house.start("order")
        house.clock.pass_seconds(15)

        async def final() -> bool:
            return (await house.order("o-1"))["status"] in ("CONFIRMED", "CANCELLED")

        await house.until(final)
        held_goods, _, held_money = await house.levels()
        assert (held_goods, held_money) == (0, 0)

    async def test_an_accepted_order_is_confirmed_after_a_restart_of_everything(self, house: House) -> None:
        house.broker.available = False
        assert (await house.place("o-1")).status_code == 201
        for name in ("order", "stock", "payment", "coordinator"):
            await house.stop(name)
        house.broker.forget()
        house.broker.available = True
        for name in ("order", "stock", "payment", "coordinator"):
            await house.start(name)
        house.clock.pass_seconds(11)
        await house.until_status("o-1", "CONFIRMED")
        assert await house.levels() == (0, 1, 0)

    async def test_an_order_is_not_confirmed_before_its_goods_are_sold(self, house: House) -> None:
        house.broker.available = False
        assert (await house.place("o-1")).status_code == 201
        await house.call("stock", "PUT", "/products/2", {"frozen": True})
        # Past its deadline everybody asks what became of the transaction, and all but the goods can follow.
        house.clock.pass_seconds(20)

        async def paid() -> bool:
            return bool((await house.read("payment", "/accounts/guest"))["captured"] == 5)

        await house.until(paid)
        for _ in range(50):
            await asyncio.sleep(0.01)
            assert (await house.order("o-1"))["status"] == "CONFIRMING"
        await house.call("stock", "PUT", "/products/2", {"frozen": False})
        house.broker.available = True
        house.clock.pass_seconds(60)
        await house.until_status("o-1", "CONFIRMED")
        assert await house.levels() == (0, 1, 0)
