"""What the front door does not take: bad orders, bad questions, and more than it can work on."""

import asyncio
from typing import Any

import pytest

from order_service.domain import Status
from tests.unit.order.shop import ONE, PATH, Shop, opened, problem

BAD_ORDERS: list[Any] = [
    {},
    [],
    None,
    {"productId": "2", "qty": 1},
    {**ONE, "qty": "1"},
    {**ONE, "qty": True},
    {**ONE, "qty": 0},
    {**ONE, "qty": -1},
    {**ONE, "qty": 1.5},
    {**ONE, "qty": 10**30},
    {**ONE, "paymentAmt": -1},
    {**ONE, "paymentAmt": 2**53},
    {**ONE, "paymentAmt": "1"},
    {**ONE, "paymentAmt": True},
    {**ONE, "colour": "red"},
    {**ONE, "order_id": "o-2"},
    {**ONE, "orderId": ""},
    {**ONE, "orderId": "a" * 65},
    {**ONE, "orderId": "a/b"},
    {**ONE, "orderId": "a\nb"},
    {**ONE, "orderId": 1},
    {**ONE, "customerId": "ü"},
    {**ONE, "productId": "../x"},
    {**ONE, "items": [{"productId": "1", "qty": 1}]},
    {"paymentAmt": 1, "items": []},
    {"paymentAmt": 1, "items": [{"productId": "1"}]},
    {"paymentAmt": 1, "items": [{"productId": str(n), "qty": 1} for n in range(101)]},
    {"paymentAmt": 1, "items": [{"productId": "1", "qty": 10**9}, {"productId": "1", "qty": 1}]},
    {"paymentAmt": 1, "productId": "1"},
    {**ONE, "hold": {"seconds": 0}},
    {**ONE, "hold": {"seconds": 86_401}},
    {**ONE, "hold": {"seconds": "60"}},
    {**ONE, "hold": True},
    {**ONE, "hold": {"minutes": 1}},
]


async def test_a_bad_order_is_422_and_writes_nothing(shop: Shop) -> None:
    for body in BAD_ORDERS:
        assert problem(await shop.post(body)) == (422, "invalid-request"), body
    assert (await shop.client.get(PATH)).json() == {"items": [], "nextCursor": None}
    assert shop.coordinator.requests == []


async def test_new_orders_are_shed_first_and_leave_no_trace() -> None:
    async with opened(max_orders_in_flight=2) as shop:
        shop.coordinator.away = True
        wishes = [{**ONE, "orderId": f"o-{number}"} for number in range(5)]
        responses = await asyncio.gather(*(shop.post(wish) for wish in wishes))
        assert sorted(response.status_code for response in responses) == [202, 202, 503, 503, 503]
        shed = next(response for response in responses if response.status_code == 503)
        assert problem(shed) == (503, "overloaded")
        assert int(shed.headers["retry-after"]) >= 1
        assert len((await shop.client.get(PATH)).json()["items"]) == 2


async def test_the_protocol_is_not_shed_for_orders() -> None:
    async with opened(max_orders_in_flight=1) as shop:
        shop.coordinator.away = True
        posting = asyncio.create_task(shop.post(ONE))
        async with asyncio.timeout(5):
            while True:
                await asyncio.sleep(0.001)
                if (await shop.client.get(PATH)).json()["items"]:
                    break
        transaction = (await shop.order("o-1")).transaction_id
        headers = {"tcc-transaction-id": transaction, "tcc-reason": "unknown-product"}
        cancelled = await shop.client.delete("/api/v1/order-reservations/b-1", headers=headers)
        assert cancelled.status_code == 204
        assert problem(await shop.post({**ONE, "orderId": "o-2"})) == (503, "overloaded")
        assert problem(await posting) == (422, "unknown-product")


class TestLists:
    """GET /api/v1/orders."""

    async def test_pages_lead_through_everything_once(self, shop: Shop) -> None:
        for number in range(7):
            await shop.post({**ONE, "orderId": f"o-{number}"})
            shop.clock.pass_seconds(1)
        seen: list[str] = []
        cursor: str | None = None
        while True:
            parameters = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
            page = (await shop.client.get(PATH, params=parameters)).json()
            seen += [order["orderId"] for order in page["items"]]
            cursor = page["nextCursor"]
            if cursor is None:
                break
        assert seen == [f"o-{number}" for number in reversed(range(7))]

    async def test_filters(self, shop: Shop) -> None:
        await shop.post({**ONE, "customerId": "ann"})
        await shop.post({**ONE, "orderId": "o-2", "customerId": "bob"})
        await shop.settle("o-2", Status.CONFIRMED)

        async def listed(query: str) -> list[str]:
            page = (await shop.client.get(f"{PATH}?{query}")).json()
            return [order["orderId"] for order in page["items"]]

        assert await listed("customerId=ann") == ["o-1"]
        assert await listed("status=CONFIRMED") == ["o-2"]
        assert await listed("customerId=ann&status=CONFIRMED") == []

    @pytest.mark.parametrize(
        "query", ["status=NONE", "limit=0", "limit=501", "limit=x", "cursor=%21", "customerId=a%2Fb"]
    )
    async def test_bad_questions_are_422(self, shop: Shop, query: str) -> None:
        assert problem(await shop.client.get(f"{PATH}?{query}")) == (422, "invalid-request")
