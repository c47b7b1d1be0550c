"""Clients who use every public route on and on, over kept connections, and never try anything twice."""

import http.client
import itertools
import json
import select
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from cli.stack import OwnStack

GOOD = frozenset({200, 201, 202, 204})
PRODUCT = "1"

Send = Callable[..., Any]


class Client:
    """One client with a connection to each program.

    answers: counted by route and status; failures: what else happened.
    """

    def __init__(self, stack: OwnStack, name: str) -> None:
        self.name = name
        self.answers: Counter[tuple[str, int]] = Counter()
        self.failures: list[str] = []
        self._stack = stack
        self._connections: dict[str, http.client.HTTPConnection] = {}

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send one request; path: begins with the program. Returns the document of a good answer."""
        program, _, rest = path.partition("/")
        connection = self._connections.get(program)
        if connection is None:
            port = self._stack.settings.port(program)
            connection = self._connections[program] = http.client.HTTPConnection(
                "127.0.0.1", port, timeout=40
            )
        sent = None if body is None else json.dumps(body).encode()
        known: Mapping[str, str] = {} if body is None else {"Content-Type": "application/json"}
        if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
            # The other end has closed it while it was idle: every pool of connections looks for that.
            connection.close()
        route = f"{method} {path.partition('?')[0].split('/')[1]}"
        try:
            connection.request(method, f"/api/v1/{rest}", sent, {**known, **headers})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as failure:
            self.failures.append(f"{route}: {failure!r}")
            connection.close()
            return {}
        self.answers[route, answer.status] += 1
        if answer.status not in GOOD:
            self.failures.append(f"{route}: {answer.status} {content[:200].decode(errors='replace')}")
            return {}
        return json.loads(content) if content else {}

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def round(self, number: int) -> None:
        """Do what a customer may do, once."""
        order_id = f"{self.name}-{number}"
        order = {"orderId": order_id, "productId": PRODUCT, "qty": 1, "paymentAmt": 5}
        self.send("POST", "order/orders", order)
        self.send("GET", f"order/orders/{order_id}")
        held = {**order, "orderId": f"{order_id}-held", "hold": {"seconds": 600}}
        self.send("POST", "order/orders", held)
        self.send("PUT", f"order/orders/{order_id}-held")
        for program, collection, claim in (
            ("stock", "stocks", {"productId": PRODUCT, "qty": 1}),
            ("payment", "payments", {"paymentAmt": 1}),
        ):
            reservation = self.send("POST", f"{program}/{collection}", claim)
            if reservation:
                self.send("PUT", f"{program}/{collection}/{reservation['id']}")
                self.send("GET", f"{program}/{collection}/{reservation['id']}")
        self.send("GET", f"stock/products/{PRODUCT}")
        self.send("GET", "payment/accounts/guest")
        self.send("GET", "coordinator/transactions?limit=5")

    def waiting_round(self, number: int) -> None:
        """Place an order and wait for its final state, for as long as one may."""
        order = {"orderId": f"{self.name}-{number}", "productId": PRODUCT, "qty": 1, "paymentAmt": 5}
        self.send("POST", "order/orders", order, Prefer="wait=30")


@contextmanager
def under_load(stack: OwnStack, clients: int = 6, waiting: int = 2) -> Iterator[list[Client]]:
    """Have clients at work for the time of a block, some of whom wait; all have begun when it is entered."""
    over = threading.Event()
    begun = threading.Barrier(clients + waiting + 1)
    working = [Client(stack, f"c{number}") for number in range(clients)]
    patient = [Client(stack, f"w{number}") for number in range(waiting)]

    def work(client: Client, one_round: Callable[[int], None]) -> None:
        for number in itertools.count():
            one_round(number)
            if number == 0:
                begun.wait()
            if over.is_set():
                client.close()
                return

    with ThreadPoolExecutor(clients + waiting) as pool:
        at_work: list[Future[None]] = [pool.submit(work, client, client.round) for client in working]
        at_work += [pool.submit(work, client, client.waiting_round) for client in patient]
        try:
            begun.wait()
            yield [*working, *patient]
        finally:
            over.set()
    for one in at_work:
        one.result()


def failures(clients: list[Client]) -> list[str]:
    """Return what went wrong for all of them."""
    return [f"{client.name} {failure}" for client in clients for failure in client.failures]


def answers(clients: list[Client]) -> Counter[tuple[str, int]]:
    """Return how many answers there were, by route and status."""
    return sum((client.answers for client in clients), Counter())
