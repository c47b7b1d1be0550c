"""Customers who keep a stack busy, whatever happens to it, and remember what they were told.

They order, hold and pay, hold and forget, call off, reserve by themselves, want what they can't have, and say
the same thing twice. A connection error, a 5xx or a 202 tells them nothing, so they repeat the same request
until they know; what they know is a promise, to be compared with what became of it (tests.invariants).

How a request is sent is a parameter: they shop at real processes as in the simulator.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.invariants import Promise

Send = Callable[[str, str, str, Any, Mapping[str, str]], Awaitable[tuple[int, str]]]
"""Sends method, program, path (what follows /api/v1), body and headers; returns the answer's status and text.
Raises UncertainError where there is no answer."""

PATIENCE: Final = 90.0
"""Seconds for which a request is repeated."""
PAUSE: Final = (0.02, 0.15)
LONGEST_PAUSE: Final = 3.0
"""Seconds between two repeats of a request, at most."""
PLENTY: Final = 1_000_000
LIMIT: Final = 3
SCARCE: Final = 25
POOR: Final = 200

CUSTOMERS: Final = tuple(f"customer-{number}" for number in range(8))
PRODUCTS: Final = tuple(f"product-{number}" for number in range(4))
PROBLEM: Final = "urn:handfast:problem:"
REFUSALS: Final = frozenset(
    {
        "insufficient-stock",
        "purchase-limit-reached",
        "unknown-product",
        "payment-declined",
        "product-frozen",
        "order-cancelled",  # Its transaction ran out of time, because somebody was killed.
    }
)
_UNCERTAIN: Final = frozenset({202, 408, 425, 429})
_TOLD: Final = {
    "HELD": Promise.TAKEN,
    "CONFIRMING": Promise.KEPT,
    "CONFIRMED": Promise.KEPT,
    "CANCELLING": Promise.GONE,
    "CANCELLED": Promise.GONE,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A certain one. body: {} where there was none."""

    status: int
    body: Mapping[str, Any]

    @property
    def slug(self) -> str:
        """The name of the problem, "" where it is none."""
        return str(self.body.get("type", "")).removeprefix(PROBLEM)


@dataclass(frozen=True, slots=True)
class Wish:
    """An order as it was asked for, and the first certain answer."""

    body: Mapping[str, Any]
    headers: Mapping[str, str]
    answer: Answer


class Customers:
    """patience: seconds for which a request is repeated; pause: the least and the most between two visits.

    promises: by order id; reservations: the state in which each standalone one must end, by id; refunded: by
    customer; wrong: answers that must not be; decided: orders whose outcome is known.
    """

    def __init__(
        self,
        send: Send,
        randomness: random.Random,
        *,
        patience: float = PATIENCE,
        pause: tuple[float, float] = PAUSE,
    ) -> None:
        self._send = send
        self._randomness = randomness
        self._patience = patience
        self._pause = pause
        self._number = 0
        self.promises: dict[str, Promise] = {}
        self.wishes: dict[str, Wish] = {}
        self.reservations: dict[str, str] = {}
        self.refunded: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.decided = 0
        self.repeats = 0
        self.visits: Counter[str] = Counter()

    async def open(self) -> None:
        """Put products on the shelves and money into the accounts."""
        stock = dict.fromkeys(PRODUCTS, PLENTY) | {"limited": PLENTY, "scarce": SCARCE}
        for product, units in stock.items():
            limit = {"purchaseLimit": LIMIT} if product == "limited" else {}
            await self.insist("PUT", "stock", f"/products/{product}", {"onHand": units, **limit})
        for customer in (*CUSTOMERS, "poor"):
            balance = POOR if customer == "poor" else PLENTY
            await self.insist("PUT", "payment", f"/accounts/{customer}", {"balance": balance})

    async def shop(self, closing: asyncio.Event) -> None:
        """Be one customer after the other until the shop closes."""
        visits = list(_VISITS)
        while not closing.is_set():
            [visit] = self._randomness.choices(visits, list(_VISITS.values()))
            await visit(self)
            self.visits[visit.__name__] += 1
            await asyncio.sleep(self._randomness.uniform(*self._pause))

    async def read(self, program: str, path: str) -> Any:
        """Return what a GET answers; it must be 200."""
        answer = await self.insist("GET", program, path)
        assert answer.status == 200, f"GET {program}{path}: {answer}"
        return answer.body

    async def insist(self, method: str, program: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Repeat a request until its answer is certain."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience
        last, pause = "none", 0.1
        while loop.time() < end:
            try:
                return await self.ask(method, program, path, body, **headers)
            except UncertainError as error:
                last = str(error)
            self.repeats += 1
            await asyncio.sleep(pause * self._randomness.uniform(0.5, 1.5))
            pause = min(1.5 * pause, LONGEST_PAUSE)
        raise AssertionError(
            f"{method} {program}{path}: no certain answer in {self._patience:.0f} s, but {last}"
        )

    async def ask(self, method: str, program: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a request once; raise UncertainError where nobody knows what became of it."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        status, text = await self._send(method, program, path, body, named)
        if status >= 500 or status in _UNCERTAIN:
            raise UncertainError(f"{status} {text[:300]}")
        return Answer(status, json.loads(text) if text else {})

    async def place(self, wish: dict[str, Any], **headers: str) -> Answer:
        """Place an order, and remember what is answered."""
        answer = await self.insist("POST", "order", "/orders", wish, **headers)
        order_id = answer.body.get("orderId")
        if order_id is None or wish.get("orderId", order_id) != order_id:
            self.wrong.append(f"{wish} was answered {answer}")
            return answer
        self._judge(order_id, answer)
        self.wishes.setdefault(order_id, Wish(wish, headers, answer))
        self.decided += 1
        return answer

    async def place_and_wait(self, wish: dict[str, Any]) -> Answer:
        """Place an order and repeat it until it is CONFIRMED or refused; return the last answer."""
        end = asyncio.get_running_loop().time() + self._patience
        while True:
            answer = await self.place(wish, prefer="wait=10")
            if answer.status >= 300 or answer.body["status"] == "CONFIRMED":
                return answer
            late = asyncio.get_running_loop().time() >= end
            assert not late, f"not settled in {self._patience:.0f} s: {answer}"

    async def repeat(self, order_id: str) -> None:
        """Place an order again that is final: it is answered as before."""
        wish = self.wishes[order_id]
        answer = await self.insist("POST", "order", "/orders", wish.body, **wish.headers)
        first = wish.answer
        if first.status < 300:
            final = "CONFIRMED" if self.promises[order_id] is Promise.KEPT else "CANCELLED"
            same = (answer.status, answer.body.get("status")) == (200, final)
        else:
            same = (answer.status, answer.slug) == (first.status, first.slug)
        if not same or answer.body.get("orderId") != order_id:
            self.wrong.append(f"order {order_id} was answered {first}, and repeated {answer}")

    def told(self, order_id: str, promise: Promise, answer: Answer) -> None:
        """Remember what an answer promises; a promise is never taken back."""
        before = self.promises.get(order_id, Promise.TAKEN)
        if before is not Promise.TAKEN and promise is not before:
            self.wrong.append(f"order {order_id} was {before.value}, and now {answer}")
        else:
            self.promises[order_id] = promise

    async def _buy(self) -> None:
        await self.place(self._wish())

    async def _buy_several(self) -> None:
        products = self._randomness.sample(PRODUCTS, 3)
        items = [{"productId": product, "qty": number + 1} for number, product in enumerate(products)]
        wish = self._wish()
        del wish["productId"], wish["qty"]
        await self.place(wish | {"items": items})

    async def _buy_impatiently(self) -> None:
        """Send the same order twice at once."""
        wish = self._wish()
        one, two = await asyncio.gather(self.place(wish), self.place(wish))
        if (one.status < 300, one.slug) != (two.status < 300, two.slug):
            self.wrong.append(f"the same order was answered {one} and {two}")

    async def _buy_with_a_key(self) -> None:
        """Leave the order's id to the service; the key makes it the same order."""
        wish = self._wish()
        await self.place(wish, idempotency_key=wish.pop("orderId"))

    async def _buy_what_is_limited(self) -> None:
        """Want more than one may have, at once."""
        customer = self._randomness.choice(CUSTOMERS)
        wishes = [self._wish(customer=customer, product="limited") for _ in range(3)]
        await asyncio.gather(*map(self.place, wishes))

    async def _buy_what_is_scarce(self) -> None:
        """Want, at once, so much of it that it can't be enough for all for long."""
        wishes = [self._wish(product="scarce", qty=SCARCE // 2) for _ in range(3)]
        await asyncio.gather(*map(self.place, wishes))

    async def _buy_without_money(self) -> None:
        wishes = [self._wish(customer="poor", amount=POOR // 3) for _ in range(4)]
        await asyncio.gather(*map(self.place, wishes))

    async def _want_too_much(self) -> None:
        wish = self._randomness.choice(
            [
                self._wish(product="unknown"),
                self._wish(customer="nobody"),
                self._wish(qty=PLENTY + 1),
                self._wish(amount=PLENTY + 1),
            ]
        )
        answer = await self.place(wish)
        if answer.status < 300:
            self.wrong.append(f"{wish} can't be had, and was answered {answer}")

    async def _hold_and_pay(self) -> None:
        if order_id := await self._hold(seconds=15):
            answer = await self.insist("PUT", "order", f"/orders/{order_id}")
            self._judge(order_id, answer)

    async def _hold_and_forget(self) -> None:
        if order_id := await self._hold(seconds=3):
            self.promises[order_id] = Promise.GONE

    async def _hold_and_pay_late(self) -> None:
        """Pay when the hold has expired, or is about to; whichever it is, it stays so."""
        if order_id := await self._hold(seconds=2):
            await asyncio.sleep(self._randomness.uniform(1.0, 4.0))
            self._judge(order_id, await self.insist("PUT", "order", f"/orders/{order_id}"))

    async def _hold_and_pay_twice(self) -> None:
        """Pay twice at once: it is paid once."""
        if order_id := await self._hold(seconds=15):
            path = f"/orders/{order_id}"
            answers = await asyncio.gather(
                self.insist("PUT", "order", path), self.insist("PUT", "order", path)
            )
            # A payment that is declined leaves the order held, and the other one may be taken.
            taken = [answer for answer in answers if answer.slug != "payment-declined"]
            for answer in taken or answers:
                self._judge(order_id, answer)

    async def _say_something_else(self) -> None:
        """Place another order under the id of one that was placed."""
        if self.wishes:
            order_id = self._randomness.choice(sorted(self.wishes))
            other = self._wish(qty=PLENTY) | {"orderId": order_id}
            answer = await self.insist("POST", "order", "/orders", other)
            if "orderId" in self.wishes[order_id].body and (answer.status, answer.slug) != (
                422,
                "order-id-reused",
            ):
                self.wrong.append(f"another order under the id {order_id} was answered {answer}")

    async def _hold_and_call_off(self) -> None:
        if order_id := await self._hold(seconds=15):
            answer = await self.insist("DELETE", "order", f"/orders/{order_id}")
            if answer.status != 204:
                self.wrong.append(f"order {order_id} was called off, and answered {answer}")
            self.told(order_id, Promise.GONE, answer)

    async def _give_back(self) -> None:
        """Have a part of a payment refunded, once, however often it is asked for."""
        wish = self._wish(amount=20)
        answer = await self.place_and_wait(wish)
        if answer.status >= 300:
            return
        transaction = await self.read("coordinator", f"/transactions/{answer.body['transactionId']}")
        [payment] = [one for one in transaction["branches"] if one["participant"] == "payment"]
        path, body = f"/payments/{payment['branchId']}/refunds", {"amount": 5, "reason": "scratched"}
        for _ in range(2):
            refund = await self.insist("POST", "payment", path, body, idempotency_key=wish["orderId"])
            if refund.status not in (200, 201):
                self.wrong.append(f"a refund of {wish} was answered {refund}")
        self.refunded[wish["customerId"]] += 5

    async def _reserve_alone(self) -> None:
        """Reserve units or money without a coordinator, and confirm, cancel or forget it."""
        program, path, claim = self._randomness.choice(
            [
                ("stock", "/stocks", {"productId": PRODUCTS[0], "qty": 2}),
                ("payment", "/payments", {"customerId": CUSTOMERS[0], "paymentAmt": 3}),
            ]
        )
        try:
            reserved = await self.ask("POST", program, path, {**claim, "seconds": 5})
        except UncertainError:
            return  # If it is there, it expires.
        if reserved.slug == "product-frozen":
            return
        assert reserved.status == 201, reserved
        reservation_id = reserved.body["id"]
        method = self._randomness.choice(["PUT", "PUT", "DELETE", ""])
        answer = await self.insist(method, program, f"{path}/{reservation_id}") if method else Answer(410, {})
        if answer.status not in (204, 410):
            self.wrong.append(f"{method} of reservation {reservation_id} was answered {answer}")
        confirmed = method == "PUT" and answer.status == 204
        self.reservations[reservation_id] = "CONFIRMED" if confirmed else "CANCELLED"

    async def _hold(self, seconds: int) -> str | None:
        """Have an order held; return its id, or None where it isn't held (any more)."""
        answer = await self.place(self._wish() | {"hold": {"seconds": seconds}})
        return str(answer.body["orderId"]) if answer.body.get("status") == "HELD" else None

    def _judge(self, order_id: str, answer: Answer) -> None:
        """Take in the answer to an order or its payment."""
        if answer.status in (200, 201):
            self.told(order_id, _TOLD[answer.body["status"]], answer)
        elif answer.slug in REFUSALS or (answer.status, answer.slug) == (410, "reservation-expired"):
            self.told(order_id, Promise.GONE, answer)
        else:
            self.wrong.append(f"order {order_id} was answered {answer}")

    def _wish(
        self, *, customer: str = "", product: str = "", qty: int = 0, amount: int = 0
    ) -> dict[str, Any]:
        self._number += 1
        return {
            "orderId": f"order-{self._number}",
            "customerId": customer or self._randomness.choice(CUSTOMERS),
            "productId": product or self._randomness.choice(PRODUCTS),
            "qty": qty or self._randomness.randint(1, 3),
            "paymentAmt": amount or self._randomness.randint(1, 30),
        }


class UncertainError(Exception):
    """Nobody knows what became of the request."""


_VISITS: Final[Mapping[Callable[[Customers], Awaitable[None]], int]] = {
    Customers._buy: 8,
    Customers._buy_several: 4,
    Customers._buy_impatiently: 3,
    Customers._buy_with_a_key: 3,
    Customers._buy_what_is_limited: 1,
    Customers._buy_what_is_scarce: 1,
    Customers._buy_without_money: 1,
    Customers._want_too_much: 2,
    Customers._hold_and_pay: 4,
    Customers._hold_and_forget: 2,
    Customers._hold_and_pay_late: 2,
    Customers._hold_and_pay_twice: 2,
    Customers._say_something_else: 1,
    Customers._hold_and_call_off: 2,
    Customers._give_back: 1,
    Customers._reserve_alone: 3,
}
"""What customers do, and how often."""
