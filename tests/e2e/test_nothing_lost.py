"""Orders go on while every process is killed in turn; in the end everything adds up, and nothing dangles."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import httpx

from cli.stack import OwnStack
from shared.settings import PORTS
from tests.e2e.conftest import StartStack
from tests.e2e.invariants import check, unsettled
from tests.e2e.waiting import until

SEED = 20_261_121
SHOPPERS = 6
ON_HAND = {"plenty": 100_000, "scarce": 40}
BALANCES = {"rich": 10_000_000, "poor": 200}
UNCERTAIN = frozenset({202, 408, 425, 429, 500, 502, 503, 504})


@dataclass
class Shop:
    """Customers who order without pause, and what they were told in the end."""

    client: httpx.AsyncClient
    url: str
    told: dict[str, str] = field(default_factory=dict)
    bugs: list[str] = field(default_factory=list)

    async def shop(self, name: str, randomness: random.Random) -> None:
        """Order, hold, pay, cancel, let expire, until cancelled."""
        number = 0
        while True:
            number += 1
            order_id = f"{name}-{number}"
            body = {
                "orderId": order_id,
                "customerId": randomness.choices(["rich", "poor"], [9, 1])[0],
                "productId": randomness.choices(["plenty", "scarce"], [9, 1])[0],
                "qty": randomness.randint(1, 3),
                "paymentAmt": randomness.randint(1, 50),
            }
            if randomness.random() < 0.2:
                await self._hold(order_id, body, randomness)
            else:
                status = await self._insist("POST", "", body)
                self.told[order_id] = "CONFIRMED" if status in (200, 201) else "CANCELLED"

    async def _hold(self, order_id: str, body: dict[str, object], randomness: random.Random) -> None:
        status = await self._insist("POST", "", body | {"hold": {"seconds": 3}})
        if status not in (200, 201):
            self.told[order_id] = "CANCELLED"
            return
        what = randomness.choice(["pay", "cancel", "forget"])
        if what == "pay":
            status = await self._insist("PUT", f"/{order_id}")
            if status == 200:
                self.told[order_id] = "CONFIRMED"
            elif status in (409, 410):
                self.told[order_id] = "CANCELLED"
        elif what == "cancel":
            await self._insist("DELETE", f"/{order_id}")
            self.told[order_id] = "CANCELLED"

    async def _insist(self, method: str, path: str, body: dict[str, object] | None = None) -> int:
        """Send a request until its answer is certain; return the status."""
        while True:
            try:
                answer = await self.client.request(method, f"{self.url}/api/v1/orders{path}", json=body)
            except httpx.TransportError:
                await asyncio.sleep(0.2)
                continue
            if answer.status_code == 500:
                self.bugs.append(answer.text)
            if answer.status_code not in UNCERTAIN:
                return answer.status_code
            await asyncio.sleep(0.2)


@asynccontextmanager
async def shopping(stack: OwnStack) -> AsyncIterator[Shop]:
    """Have orders placed for the time of a block; those under way at its end are seen through."""
    async with httpx.AsyncClient(trust_env=False, timeout=20.0) as client:
        shop = Shop(client, stack.settings.url("order"))
        shoppers = [
            asyncio.create_task(shop.shop(f"s{number}", random.Random(SEED + number)))
            for number in range(SHOPPERS)
        ]
        yield shop
        for shopper in shoppers:
            shopper.cancel()
        ended = await asyncio.gather(*shoppers, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended


async def put_goods(stack: OwnStack) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for product, on_hand in ON_HAND.items():
            url = f"{stack.settings.url('stock')}/api/v1/products/{product}"
            (await client.put(url, json={"onHand": on_hand})).raise_for_status()
        for customer, balance in BALANCES.items():
            url = f"{stack.settings.url('payment')}/api/v1/accounts/{customer}"
            (await client.put(url, json={"balance": balance})).raise_for_status()


async def kill_and_await_return(stack: OwnStack, name: str) -> None:
    """Kill a process, and wait until it is back and all programs are ready again."""
    killed = stack.pid(name)
    os.kill(killed, signal.SIGKILL)
    await until(lambda: stack.processes().get(name, {"pid": killed})["pid"] != killed, f"{name} is back")
    async with httpx.AsyncClient(trust_env=False, timeout=5.0) as client:
        for program in PORTS:
            ready = partial(is_ready, client, f"{stack.settings.url(program)}/readyz")
            await until(ready, f"{program} is ready", 90)


async def is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


async def more_orders(shop: Shop, count: int) -> None:
    """Wait until so many more orders were answered."""
    wanted = len(shop.told) + count
    await until(lambda: len(shop.told) >= wanted, f"{count} more orders are answered", 60)


async def at_rest(stack: OwnStack) -> bool:
    return not await asyncio.to_thread(unsettled, stack)


async def test_nothing_is_lost_while_every_process_is_killed(start: StartStack) -> None:
    stack = await asyncio.to_thread(start, environment={"HANDFAST_REPUBLISH_SECONDS": "2"})
    await put_goods(stack)
    async with shopping(stack) as shop:
        for name in ("coordinator", "stock", "broker", "payment", "order", "broker"):
            await more_orders(shop, 30)
            await kill_and_await_return(stack, name)
        await more_orders(shop, 30)
    await until(partial(at_rest, stack), "all that was begun is settled", 120)
    statuses = await asyncio.to_thread(check, stack, ON_HAND, BALANCES)
    assert shop.bugs == []
    broken = {
        order_id: (told, statuses[order_id])
        for order_id, told in shop.told.items()
        if statuses[order_id] != told
    }
    assert broken == {}
    assert set(shop.told.values()) == {"CONFIRMED", "CANCELLED"}
