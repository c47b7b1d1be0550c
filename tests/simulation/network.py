"""The simulated network between the programs and their customers: HTTP requests that may be late, lost,
answered into the void or delivered twice.

A request is carried by a courier that lives as long as it takes, whatever becomes of its sender; who sent it
waits for as long as it was told to.
"""

import asyncio
import random
import re
from collections.abc import Mapping
from typing import Final, Protocol

import httpx
from starlette.types import ASGIApp

from shared.errors import Unreachable
from shared.http.asgi_caller import request_of, serve
from shared.http.caller import Reply
from shared.settings import PORTS
from shared.tcc.protocol import BRANCH_ID, TRANSACTION_ID
from tests.simulation.conditions import Conditions, Fault
from tests.simulation.life import Life
from tests.simulation.past import Past
from tests.simulation.trace import Trace
from tests.simulation.watch import Watch

CUSTOMER: Final = "customer"
BY_PORT: Final = {port: name for name, port in PORTS.items()}
REMEMBERED: Final = 200
_NAMED: Final = re.compile(rb'"(?:transactionId|orderId)":"([^"]+)"')
LATE: Final = (8.0, 80.0)
"""Seconds by which a request is delayed beyond what anybody waits for."""


class Host(Protocol):
    """An instance of a program as the network sees it: its present life and what answers, None while it is
    down."""

    @property
    def name(self) -> str: ...

    @property
    def program(self) -> str: ...

    @property
    def life(self) -> Life | None: ...

    @property
    def app(self) -> ASGIApp | None: ...


class Network:
    """Carries requests to hosts. tries: the latest Trys that were sent, for one to come late."""

    def __init__(
        self,
        hosts: Mapping[str, Host],
        conditions: Conditions,
        randomness: random.Random,
        trace: Trace,
        watch: Watch,
        past: Past,
    ) -> None:
        self._hosts = hosts
        self._conditions = conditions
        self._randomness = randomness
        self._trace = trace
        self._watch = watch
        self._past = past
        self._couriers: set[asyncio.Task[None]] = set()
        self.tries: list[tuple[str, httpx.Request]] = []

    def caller(self, name: str, life: Life | None = None) -> "SimulatedCaller":
        """Return the Caller of a program's life, or of a customer, who has none."""
        return SimulatedCaller(self, name, life)

    async def call(self, source: str, request: httpx.Request, seconds: float) -> Reply:
        """Send a request and wait for its answer; raise Unreachable where none comes in time."""
        target = BY_PORT[request.url.port or 0]
        if TRANSACTION_ID in request.headers and source != CUSTOMER:
            self._past.called(target, request)
            if request.method == "POST":
                self.tries = [*self.tries[1 - REMEMBERED :], (target, request)]
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._send(source, target, request, answer)
        if self._conditions.strikes(Fault.DUPLICATE, source, target):
            self._send(source, target, request, None, later=self._randomness.uniform(0.0, 2.0))
        await asyncio.wait((answer,), timeout=seconds)
        what = f"{source}->{target} {request.method} {request.url.path}{_about(request)}"
        if not answer.done():
            answer.cancel()
            self._trace.note(f"{what} unanswered after {seconds:g} s")
            raise Unreachable(f"{what} was not answered within {seconds:g} s.")
        error = answer.exception()
        if error is not None:
            self._trace.note(f"{what} failed")
            raise error
        self._trace.note(f"{what} {answer.result().status}")
        return answer.result()

    def resend(self, target: str, request: httpx.Request) -> None:
        """Deliver a request of long ago once more; nobody waits for its answer."""
        self._send("the past", target, request, None)

    async def close(self) -> None:
        for courier in self._couriers:
            courier.cancel()
        await asyncio.gather(*self._couriers, return_exceptions=True)

    def _send(
        self,
        source: str,
        target: str,
        request: httpx.Request,
        answer: "asyncio.Future[Reply] | None",
        later: float = 0.0,
    ) -> None:
        courier = asyncio.get_running_loop().create_task(self._carry(source, target, request, answer, later))
        self._couriers.add(courier)
        courier.add_done_callback(self._couriers.discard)

    async def _carry(
        self,
        source: str,
        target: str,
        request: httpx.Request,
        answer: "asyncio.Future[Reply] | None",
        later: float,
    ) -> None:
        strikes = self._conditions.strikes
        await asyncio.sleep(later + self._latency(source, target))
        if strikes(Fault.PARTITION, source, target) or strikes(Fault.DROP, source, target):
            return
        if strikes(Fault.DELAY, source, target):
            await asyncio.sleep(self._randomness.uniform(*LATE))
        host = self._randomness.choice([one for one in self._hosts.values() if one.program == target])
        if strikes(Fault.BURST, host.name):
            reply: Reply | Unreachable = Reply(503, {}, b"")
        else:
            if strikes(Fault.SLOW, host.name):
                await asyncio.sleep(self._randomness.uniform(0.5, 4.0))
            reply = await self._deliver(host, request)
        await asyncio.sleep(self._latency(target, source))
        if strikes(Fault.PARTITION, target, source) or strikes(Fault.LOSE, source, target):
            return
        if answer is None or answer.done():
            return
        if isinstance(reply, Unreachable):
            answer.set_exception(reply)
        else:
            answer.set_result(reply)

    async def _deliver(self, host: Host, request: httpx.Request) -> Reply | Unreachable:
        life, app = host.life, host.app
        if life is None or app is None or not life.alive:
            return Unreachable(f"{host.name} refuses the connection.")
        answered = self._watch.before(host.program, request)
        serving = life.spawn(_serve(life, app, request))
        await asyncio.wait((serving,))
        if serving.cancelled():
            return Unreachable(f"{host.name} closed the connection.")
        response = serving.result()
        answered(response.status_code)
        return Reply(response.status_code, dict(response.headers), response.content)

    def _latency(self, source: str, target: str) -> float:
        if self._conditions.strikes(Fault.REORDER, source, target):
            return self._randomness.uniform(0.0, 0.5)
        return self._randomness.uniform(0.0002, 0.002)


class SimulatedCaller:
    """The Caller of one program's life."""

    def __init__(self, network: Network, name: str, life: Life | None) -> None:
        self._network = network
        self._name = name
        self._life = life

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float,  # noqa: ASYNC109 - the port's signature
    ) -> Reply:
        if self._life is not None:
            await self._life.gate()
        request = request_of(method, url, headers, body)
        reply = await self._network.call(self._name, request, timeout)
        if self._life is not None:
            await self._life.gate()
        return reply

    async def close(self) -> None:
        """The network is nobody's own."""


def _about(request: httpx.Request) -> str:
    """Return which branch, transaction or order a request is about, where its path doesn't say."""
    branch_id = request.headers.get(BRANCH_ID)
    if branch_id is not None:
        return f" ({request.headers[TRANSACTION_ID]}, {branch_id})"
    named = _NAMED.search(request.content)
    return "" if named is None else f" ({named[1].decode()})"


async def _serve(life: Life, app: ASGIApp, request: httpx.Request) -> httpx.Response:
    await life.gate()
    # A request may be served twice, so that each gets a body of its own.
    again = httpx.Request(request.method, request.url, headers=request.headers, content=request.content)
    response = await serve(app, again)
    await life.gate()
    return response


def origin(name: str) -> str:
    """Return where a program answers in the simulation."""
    return f"http://127.0.0.1:{PORTS[name]}"
