"""Orders beside transactions that are stuck on a participant which takes every call and answers none.

    alone    orders on a stack without any
    beside   orders on a stack with them: some can't be confirmed, the others can't be cancelled

A round of either in turn, so that both see the same machine. Then the participant answers again, and it is
measured how long the stuck ones take to be settled.
"""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from cli.api import Api
from cli.bench.figures import Figures
from cli.bench.mute import ALL, NONE, TRIES
from cli.bench.run import ENVIRONMENT, WARM_UP, Handfast, Say, free_ports, generator, python
from cli.outcome import CommandError
from cli.programs import programs
from cli.stack import free_port_offset, own_stack
from shared.settings import Settings

MUTE: Final = "mute"
PRODUCT: Final = "stuck"
AT_ONCE: Final = 16
UNDECIDED_SECONDS: Final = 5
"""The time that a transaction has whose Try is swallowed: then it is to be cancelled."""
WITHIN: Final = 120.0
STATES: Final = ("TRYING", "CONFIRMING", "CANCELLING")


@dataclass(slots=True)
class Measured:
    """What was measured. settled: seconds from the first answer until the last stuck one was settled."""

    alone: Figures
    beside: Figures
    stuck: int = 0
    silence: float = 0.0
    settled: float = 0.0
    states: dict[str, int] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Return the figures as they are written to JSON."""
        return {
            "stuck": self.stuck,
            "stuckStates": self.states,
            "silenceSeconds": round(self.silence, 1),
            "settledSecondsAfter": round(self.settled, 2),
            "alone": self.alone.summary(),
            "beside": self.beside.summary(),
            "ofAlone": self.beside.of(self.alone),
            "ofAloneByRound": self.beside.by_round(self.alone),
        }


class Mute:
    """The participant that can be told to answer nobody."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(trust_env=False, timeout=10.0)

    def answers(self, mode: str) -> None:
        self._client.put(f"{self.url}/mode/{mode}").raise_for_status()

    def close(self) -> None:
        self._client.close()


def measure(
    stuck: int,
    orders: int,
    in_flight: int,
    rounds: int,
    silence: float,
    environment: Mapping[str, str],
    say: Say,
) -> Measured:
    """Measure; raise CommandError where an accepted order isn't CONFIRMED or a stuck one stays so.

    orders: in all rounds together, on either stack; silence: seconds for which the participant answers
    nobody, at least; environment: what both stacks get besides.
    """
    measured = Measured(Figures("alone", in_flight), Figures("beside", in_flight), stuck)
    share = max(1, orders // rounds)
    with ExitStack() as stacks:
        load = stacks.enter_context(generator())
        mute = stacks.enter_context(_mute())
        common = {**ENVIRONMENT, **environment}
        alone = Handfast(stacks.enter_context(own_stack(environment=common)), load)
        offset = free_port_offset()
        own = {"HANDFAST_PARTICIPANTS": _participants(Settings(port_offset=offset), mute.url)}
        stack = stacks.enter_context(own_stack(port_offset=offset, environment={**common, **own}))
        beside = Handfast(stack, load)
        api = stacks.enter_context(Api(stack.settings))
        api.send("PUT", "stock", f"/products/{PRODUCT}", {"onHand": stuck})
        say("warming up")
        for one in (alone, beside):
            one.round(Figures("", in_flight), "warm", min(WARM_UP, share))
        say(f"sticking {stuck} transactions")
        _stick(api, mute, stuck)
        silent_since = time.monotonic()
        measured.states = _count(api)
        for number in range(1, rounds + 1):
            alone.round(measured.alone, f"alone-{number}", share)
            beside.round(measured.beside, f"beside-{number}", share)
            rates = f"alone {measured.alone.rates[-1]:.0f}/s, beside {measured.beside.rates[-1]:.0f}/s"
            say(f"round {number} of {rounds}: {rates}")
        left = silent_since + silence - time.monotonic()
        if left > 0:
            say(f"silent for another {left:.0f} s")
            time.sleep(left)
        if (still := _count(api)) != measured.states:
            raise CommandError(f"what was stuck as {measured.states} is {still} although nobody answered")
        measured.silence = time.monotonic() - silent_since
        mute.answers(ALL)
        measured.settled = _until_settled(api)
        say("checking every order and every stuck transaction")
        measured.alone.settling = _settling(alone)
        measured.beside.settling = _settling(beside)
        _check(api, stuck, measured.states["CONFIRMING"])
    return measured


def _settling(measured: Handfast) -> list[float]:
    """Return how long each order took to be CONFIRMED, without those that warmed the stack up."""
    return [took for order_id, took in measured.check().items() if not order_id.startswith("warm")]


def _stick(api: Api, mute: Mute, count: int) -> None:
    """Begin transactions that can't be told their decision, and wait until all are decided."""
    mute.answers(TRIES)
    _begin(api, range(count // 2))
    mute.answers(NONE)
    _begin(api, range(count // 2, count))
    deadline = time.monotonic() + WITHIN
    while _any(api, "TRYING"):
        if time.monotonic() > deadline:
            raise CommandError(f"transactions are still undecided after {WITHIN:.0f} s")
        time.sleep(0.1)


def _begin(api: Api, numbers: range) -> None:
    def begin(number: int) -> None:
        claim = {"items": [{"productId": PRODUCT, "qty": 1}]}
        branches = [{"participant": MUTE, "claim": {}}, {"participant": "stock", "claim": claim}]
        body = {
            "transactionId": f"stuck-{number}",
            "timeoutSeconds": UNDECIDED_SECONDS,
            "branches": branches,
        }
        try:
            api.send("POST", "coordinator", "/transactions", body)
        except CommandError as refused:
            # Undecided in time, it is cancelled, which is what is wanted here.
            if "transaction-expired" not in str(refused):
                raise

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(begin, numbers))


def _any(api: Api, state: str) -> bool:
    return bool(api.get("coordinator", "/transactions", {"state": state, "limit": 1})["items"])


def _count(api: Api) -> dict[str, int]:
    """Return how many of the stuck ones there are in each state in which one may be stuck."""
    return {
        state: sum(
            one["transactionId"].startswith("stuck-")
            for one in api.items("coordinator", "/transactions", {"state": state})
        )
        for state in STATES
    }


def _until_settled(api: Api) -> float:
    began = time.monotonic()
    for state in STATES:
        while _any(api, state):
            if time.monotonic() - began > WITHIN:
                raise CommandError(f"transactions are still {state} {WITHIN:.0f} s after the first answer")
            time.sleep(0.05)
    return time.monotonic() - began


def _check(api: Api, stuck: int, confirming: int) -> None:
    """Raise CommandError unless the stuck ones ended as they had been decided."""
    ended = {
        state: sum(
            one["transactionId"].startswith("stuck-")
            for one in api.items("coordinator", "/transactions", {"state": state})
        )
        for state in ("CONFIRMED", "CANCELLED")
    }
    product = api.get("stock", f"/products/{PRODUCT}")
    if ended != {"CONFIRMED": confirming, "CANCELLED": stuck - confirming}:
        raise CommandError(f"{confirming} of {stuck} were to be confirmed, and they ended as {ended}")
    if (product["sold"], product["held"]) != (confirming, 0):
        raise CommandError(f"{confirming} units were to be sold, but the product says {product}")


def _participants(settings: Settings, mute_url: str) -> str:
    own = {
        "order": ("order-reservations", "order-confirmation"),
        "stock": ("stocks", "stock-adjustment"),
        "payment": ("payments", "payment-capture"),
    }
    registered: list[dict[str, Any]] = [
        {
            "name": program.name,
            "url": program.url,
            "path": f"/api/v1/{own[program.name][0]}",
            "confirm": f"kafka:{own[program.name][1]}",
        }
        for program in programs(settings)
        if program.name in own
    ]
    return json.dumps([*registered, {"name": MUTE, "url": mute_url, "path": "/reservations"}])


@contextmanager
def _mute() -> Iterator[Mute]:
    (port,) = free_ports(1)
    with python("cli.bench.mute", str(port)):
        mute = Mute(f"http://127.0.0.1:{port}")
        try:
            deadline = time.monotonic() + 30.0
            while True:
                try:
                    mute.answers(ALL)
                    break
                except httpx.TransportError as failure:
                    if time.monotonic() > deadline:
                        raise CommandError(f"the participant at {mute.url} doesn't start") from failure
                    time.sleep(0.05)
            yield mute
        finally:
            mute.close()
