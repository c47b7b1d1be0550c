"""Puts a planned year through a stack that is up, and compares what became of it with the plan."""

import asyncio
import os
import platform
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import aiohttp

from shared.settings import PORTS, Settings
from tests.e2e.jaffle_shop import Order, Outcome, Plan, Traffic

ANSWER_SECONDS: Final = 90.0
"""Within this an order must be answered for certain, and what was refused let go."""

SETTLE_SECONDS: Final = 120.0
REPEAT_EVERY: Final = 50
"""Every so many orders are sent again at the end, and must answer as before."""

_OPEN: Final = ("PENDING", "HELD", "CONFIRMING", "CANCELLING")


@dataclass(frozen=True)
class Urls:
    """Where a stack answers."""

    coordinator: str
    order: str
    stock: str
    payment: str

    @classmethod
    def of(cls, settings: Settings) -> "Urls":
        return cls(**{name: settings.url(name) for name in PORTS})


@dataclass
class Report:
    """What came of it. seconds: from the first order to the last one's answer, and until all were settled."""

    machine: str
    orders: int
    confirmed: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    settled_seconds: float = 0.0
    orders_per_second: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    repeats: int = 0
    violations: list[str] = field(default_factory=list)


async def run_shop(plan: Plan, urls: Urls, in_flight: int, advance: Callable[[], None]) -> Report:
    """Put a plan through a stack that is up, and return what came of it."""
    connector = aiohttp.TCPConnector(limit=in_flight * 2)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(30)) as session:
        shop = Shop(plan, urls, session, in_flight)
        await shop.open()
        await shop.sell(advance)
        await shop.check()
        return shop.report


class Shop:
    """One run of a plan against a stack."""

    def __init__(self, plan: Plan, urls: Urls, session: aiohttp.ClientSession, in_flight: int) -> None:
        self._plan = plan
        self._urls = urls
        self._session = session
        self._traffic = Traffic(plan)
        self._in_flight = asyncio.Semaphore(in_flight)
        self._changed = asyncio.Event()
        self._seconds: list[float] = []
        self._bodies: dict[str, Any] = {}
        self.report = Report(machine=_machine(), orders=len(plan.orders))

    async def open(self) -> None:
        """Put in the products and the accounts."""
        for product, name in self._plan.names.items():
            body = {"name": name, "onHand": self._plan.stock[product]}
            if product in self._plan.limits:
                body["purchaseLimit"] = self._plan.limits[product]
            await self._put(f"{self._urls.stock}/api/v1/products/{product}", body)
        for customer, balance in self._plan.accounts.items():
            await self._put(f"{self._urls.payment}/api/v1/accounts/{customer}", {"balance": balance})

    async def sell(self, advance: Callable[[], None]) -> None:
        """Send every order, each as soon as its outcome is certain; return once all are settled."""
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for order, outcome in self._planned():
                await self._in_flight.acquire()
                while not self._traffic.may_go(order, outcome):
                    self._changed.clear()
                    await self._changed.wait()
                self._traffic.sent(order, outcome)
                group.create_task(self._serve(order, outcome, advance))
        self.report.seconds = time.perf_counter() - started
        await self._until_settled()
        self.report.settled_seconds = time.perf_counter() - started
        self.report.orders_per_second = len(self._seconds) / self.report.seconds
        centiles = statistics.quantiles(self._seconds, n=100)
        self.report.p50_ms, self.report.p99_ms = centiles[49] * 1000, centiles[98] * 1000

    async def check(self) -> None:
        """Check everything: how all ended, that nothing is left over, and that repeats change nothing."""
        await self.check_ends()
        await self._check_nothing_is_left()
        await self._check_repeats()

    async def check_ends(self) -> None:
        """Compare every order, product and account with the plan."""
        await self._check_orders()
        await self._check_products()
        await self._check_accounts()

    def _planned(self) -> Iterable[tuple[Order, Outcome]]:
        return zip(self._plan.orders, self._plan.outcomes, strict=True)

    def _wrong(self, violation: str) -> None:
        self.report.violations.append(violation)

    async def _serve(self, order: Order, outcome: Outcome, advance: Callable[[], None]) -> None:
        try:
            started = time.perf_counter()
            status, body = await self._place(order)
            self._seconds.append(time.perf_counter() - started)
            self._judge(order, outcome, status, body)
            if outcome.valid and not outcome.confirmed:
                await self._until_let_go(order)
            self._traffic.settled(order, outcome)
            self._changed.set()
            advance()
        finally:
            self._in_flight.release()

    async def _place(self, order: Order) -> tuple[int, Any]:
        """Send an order until its answer is certain, as any client may: its id makes it the same order."""
        give_up = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < give_up:
            try:
                async with self._session.post(f"{self._urls.order}/api/v1/orders", json=order.body) as answer:
                    body = await answer.json(content_type=None)
                    if answer.status != 202 and answer.status < 500:
                        return answer.status, body
                    pause = float(answer.headers.get("Retry-After", "1"))
            except (aiohttp.ClientConnectionError, TimeoutError):
                pause = 0.2
            self.report.repeats += 1
            await asyncio.sleep(pause)
        raise RuntimeError(f"order {order.order_id} got no certain answer within {ANSWER_SECONDS:g} s")

    def _judge(self, order: Order, outcome: Outcome, status: int, body: Any) -> None:
        if outcome.confirmed:
            if status not in (200, 201) or body["status"] not in ("CONFIRMING", "CONFIRMED"):
                self._wrong(f"order {order.order_id} was to be confirmed, and was answered {status}: {body}")
            self.report.confirmed += 1
            return
        slug = str(body.get("type", "")).removeprefix("urn:handfast:problem:")
        if slug not in outcome.reasons or status not in (402, 409, 422):
            self._wrong(
                f"order {order.order_id} was to be refused ({'/'.join(sorted(outcome.reasons))}), "
                f"and was answered {status}: {body}"
            )
        self.report.refused[slug] = self.report.refused.get(slug, 0) + 1
        self._bodies[order.order_id] = body

    async def _until_let_go(self, order: Order) -> None:
        """Wait until a refused order holds nothing any more."""
        pause = 0.005
        give_up = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < give_up:
            found = await self._get(f"{self._urls.order}/api/v1/orders/{order.order_id}")
            if found["status"] in ("CONFIRMED", "CANCELLED"):
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.2)
        raise RuntimeError(f"order {order.order_id} was refused, and is {found['status']} for long: {found}")

    async def _until_settled(self) -> None:
        async with asyncio.timeout(SETTLE_SECONDS):
            for status in _OPEN:
                await self._until_none(f"{self._urls.order}/api/v1/orders?limit=1&status={status}")

    async def _until_none(self, url: str) -> None:
        while True:
            if not (await self._get(url))["items"]:
                return
            await asyncio.sleep(0.1)

    async def _check_orders(self) -> None:
        found = {order["orderId"]: order async for order in self._list(f"{self._urls.order}/api/v1/orders")}
        for order, outcome in self._planned():
            one = found.pop(order.order_id, None)
            if not outcome.valid:
                if one is not None:
                    self._wrong(f"order {order.order_id} was not to be kept, and is there: {one}")
                continue
            if one is None:
                self._wrong(f"order {order.order_id} is gone")
                continue
            expected = "CONFIRMED" if outcome.confirmed else "CANCELLED"
            if one["status"] != expected or (outcome.reasons and one.get("reason") not in outcome.reasons):
                self._wrong(f"order {order.order_id} was to end {expected} {sorted(outcome.reasons)}: {one}")
            items = {item["productId"]: item["qty"] for item in one["items"]}
            if (items, one["paymentAmt"], one["customerId"]) != (order.items, order.amount, order.customer):
                self._wrong(f"order {order.order_id} is not what was ordered: {one}")
        for stranger in found:
            self._wrong(f"order {stranger} was never placed")

    async def _check_products(self) -> None:
        sold = self._plan.sold()
        for product, stock in self._plan.stock.items():
            found = await self._get(f"{self._urls.stock}/api/v1/products/{product}")
            left = stock - sold[product]
            expected = {"onHand": left, "held": 0, "available": left, "sold": sold[product]}
            self._compare(f"product {product}", found, expected)

    async def _check_accounts(self) -> None:
        captured = self._plan.captured()
        for customer, balance in self._plan.accounts.items():
            found = await self._get(f"{self._urls.payment}/api/v1/accounts/{customer}")
            left = balance - captured[customer]
            expected = {
                "balance": left,
                "held": 0,
                "available": left,
                "captured": captured[customer],
                "refunded": 0,
            }
            self._compare(f"account {customer}", found, expected)

    async def _check_nothing_is_left(self) -> None:
        """No reservation dangles, no transaction is undecided, no letter is dead."""
        places = [f"{self._urls.stock}/api/v1/stocks", f"{self._urls.payment}/api/v1/payments"]
        lists = [f"{place}?limit=1&state={state}" for place in places for state in ("TRIED", "CONFIRMING")]
        lists += [
            f"{self._urls.coordinator}/api/v1/transactions?limit=1&state={state}"
            for state in ("TRYING", "TRIED", "CONFIRMING", "CANCELLING")
        ]
        lists += [f"{url}/api/v1/dead-letters?limit=1" for url in asdict(self._urls).values()]
        for url in lists:
            if left := (await self._get(url))["items"]:
                self._wrong(f"{url} is not empty: {left}")

    async def _check_repeats(self) -> None:
        """Orders sent again change nothing and are answered as before."""
        before = [await self._get(f"{self._urls.stock}/api/v1/products/{one}") for one in self._plan.stock]
        for order, outcome in list(self._planned())[::REPEAT_EVERY]:
            status, body = await self._place(order)
            if outcome.confirmed and (status, body["status"]) != (200, "CONFIRMED"):
                self._wrong(f"order {order.order_id} was repeated, and answered {status}: {body}")
            if not outcome.confirmed and body.get("type") != self._bodies[order.order_id].get("type"):
                self._wrong(f"order {order.order_id} was repeated, and refused otherwise: {status} {body}")
        after = [await self._get(f"{self._urls.stock}/api/v1/products/{one}") for one in self._plan.stock]
        if before != after:
            self._wrong(f"repeated orders moved stock: {before} became {after}")

    def _compare(self, what: str, found: dict[str, Any], expected: dict[str, int]) -> None:
        seen = {name: found.get(name) for name in expected}
        if seen != expected:
            self._wrong(f"{what} was to end as {expected}, and is {seen}")

    async def _put(self, url: str, body: dict[str, Any]) -> None:
        await self._ask("PUT", url, (200, 201), body)

    async def _get(self, url: str) -> Any:
        return await self._ask("GET", url, (200,))

    async def _ask(self, method: str, url: str, expected: tuple[int, ...], body: Any = None) -> Any:
        """Send a request until it is answered: each of them may be repeated."""
        give_up = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < give_up:
            try:
                async with self._session.request(method, url, json=body) as answer:
                    if answer.status in expected:
                        return await answer.json()
                    if answer.status < 500:
                        raise RuntimeError(f"{url} answered {answer.status}: {await answer.text()}")
            except (aiohttp.ClientConnectionError, TimeoutError):
                self.report.repeats += 1
            await asyncio.sleep(0.2)
        raise RuntimeError(f"{url} was not answered within {ANSWER_SECONDS:g} s")

    async def _list(self, url: str) -> AsyncIterator[dict[str, Any]]:
        page = await self._get(f"{url}?limit=500")
        while True:
            for item in page["items"]:
                yield item
            if page["nextCursor"] is None:
                return
            page = await self._get(f"{url}?limit=500&cursor={page['nextCursor']}")


def _machine() -> str:
    python = platform.python_version()
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {python}"
