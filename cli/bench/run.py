"""A measurement: rounds of raw and of Handfast in turn, so that both see the same machine.

Accepted means answered 201: the outcome is decided and durable. How long it took from there to CONFIRMED is
read afterwards from the orders themselves (`updatedAt`, on the same clock), so that nobody asks meanwhile.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from cli.api import Api
from cli.bench.figures import Figures
from cli.bench.jobs import Job, Result
from cli.launcher import ROOT
from cli.lifeline import die_with_parent
from cli.machine import cpu_seconds
from cli.outcome import CommandError
from cli.programs import taken
from cli.stack import OwnStack, free_port_offset, own_stack

PRODUCT = "bench"
ON_HAND = 1_000_000_000
SETTLED_WITHIN = 120.0
WARM_UP = 300
ENVIRONMENT = {"HANDFAST_LOG_LEVEL": "WARNING"}

Say = Callable[[str], None]


class Generator:
    """The load generator's process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, job: Job) -> Result:
        """Do a job and return its result."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise CommandError(f"the load generator ended with exit code {self._process.wait()}")
        return Result(**json.loads(line))


@contextmanager
def generator() -> Iterator[Generator]:
    """Have a load generator for the time of a block."""
    with python("cli.bench.load", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Generator(process)


class Handfast:
    """A stack under measurement, with one product to sell. token: of its customer, where one is needed."""

    def __init__(self, stack: OwnStack, load: Generator, token: str = "") -> None:
        self._load = load
        self._token = token
        self._api = Api(stack.settings)
        self._stack = stack
        self._url = stack.settings.url("order")
        self.accepted: dict[str, float] = {}
        self._api.send("PUT", "stock", f"/products/{PRODUCT}", {"onHand": ON_HAND})

    def round(self, figures: Figures, name: str, orders: int) -> None:
        """Place orders, wait until all are settled, and add what that took to the figures."""
        pids = [process["pid"] for process in self._stack.processes().values()]
        before = cpu_seconds(pids)
        job = Job("handfast", [self._url], name, orders, figures.in_flight, PRODUCT, token=self._token)
        result = self._load.run(job)
        self._wait_until_settled()
        after = cpu_seconds(pids)
        cpu = None if before is None or after is None else after - before + result.cpu
        figures.add(seconds=result.seconds, cpu=cpu, latencies=result.latencies, failures=result.failures)
        self.accepted |= result.accepted

    def pids(self) -> dict[str, int]:
        return {name: process["pid"] for name, process in self._stack.processes().items()}

    def check(self) -> dict[str, float]:
        """Return how long each order took to be CONFIRMED, in ms; raise CommandError where one isn't."""
        settled: dict[str, float] = {}
        missing = dict(self.accepted)
        for order in self._api.items("order", "/orders", {"status": "CONFIRMED"}):
            accepted = missing.pop(order["orderId"], None)
            if accepted is not None:
                updated = datetime.fromisoformat(order["updatedAt"]).timestamp() * 1000
                settled[order["orderId"]] = max(0.0, updated - accepted)
        if missing:
            some = ", ".join(list(missing)[:5])
            raise CommandError(f"{len(missing)} accepted orders are not CONFIRMED: {some}")
        sold = self._api.get("stock", f"/products/{PRODUCT}")
        if (sold["sold"], sold["held"]) != (len(self.accepted), 0):
            raise CommandError(f"{len(self.accepted)} orders were accepted, but the product says {sold}")
        return settled

    def _wait_until_settled(self) -> None:
        deadline = time.monotonic() + SETTLED_WITHIN
        for status in ("PENDING", "CONFIRMING"):
            while self._api.get("order", "/orders", {"status": status, "limit": 1})["items"]:
                if time.monotonic() > deadline:
                    raise CommandError(f"orders are still {status} after {SETTLED_WITHIN:.0f} s")
                time.sleep(0.02)


class Raw:
    """Three bare participants under measurement."""

    def __init__(
        self, processes: Sequence["subprocess.Popen[str]"], urls: list[str], load: Generator
    ) -> None:
        self._processes = processes
        self.urls = urls
        self._load = load

    def round(self, figures: Figures, name: str, orders: int) -> None:
        """Make the calls of so many orders, and add what that took to the figures."""
        pids = [process.pid for process in self._processes]
        before = cpu_seconds(pids)
        result = self._load.run(Job("raw", self.urls, name, orders, figures.in_flight))
        after = cpu_seconds(pids)
        cpu = None if before is None or after is None else after - before + result.cpu
        figures.add(seconds=result.seconds, cpu=cpu, latencies=result.latencies, failures=result.failures)


@contextmanager
def raw(load: Generator) -> Iterator[Raw]:
    """Have the raw baseline for the time of a block."""
    with ExitStack() as processes:
        ports = free_ports(3)
        started = [processes.enter_context(python("cli.bench.raw", str(port))) for port in ports]
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        _wait_until_they_answer(urls)
        yield Raw(started, urls, load)


@contextmanager
def handfast(load: Generator, say: Say) -> Iterator[Handfast]:
    """Have a stack under measurement for the time of a block."""
    with own_stack(environment=ENVIRONMENT, say=say) as stack:
        yield Handfast(stack, load)


def compare(levels: Iterable[int], orders: int, rounds: int, say: Say) -> tuple[list[Figures], list[Figures]]:
    """Measure raw and Handfast at each level, a round of either in turn; return the figures of both.

    orders: at each level, over all rounds. Raises CommandError where an accepted order isn't CONFIRMED.
    """
    raw_figures = [Figures("raw", level) for level in levels]
    own_figures = [Figures("handfast", one.in_flight) for one in raw_figures]
    share = max(1, orders // rounds)
    with generator() as load, handfast(load, say) as own, raw(load) as bare:
        say("warming up")
        warm_up = Figures("", 32)
        bare.round(warm_up, "warm-raw", min(WARM_UP, share))
        own.round(warm_up, "warm", min(WARM_UP, share))
        for baseline, mine in zip(raw_figures, own_figures, strict=True):
            for number in range(1, rounds + 1):
                name = f"{mine.in_flight}-{number}"
                bare.round(baseline, name, share)
                own.round(mine, name, share)
                rates = f"raw {baseline.rates[-1]:.0f}/s, handfast {mine.rates[-1]:.0f}/s"
                say(f"{mine.in_flight} in flight, round {number} of {rounds}: {rates}")
        say("checking every order")
        for order_id, took in own.check().items():
            level = order_id.partition("-")[0]
            for mine in own_figures:
                if level == str(mine.in_flight):
                    mine.settling.append(took)
    return raw_figures, own_figures


@contextmanager
def python(module: str, *arguments: str, **pipes: Any) -> Iterator["subprocess.Popen[str]"]:
    """Run a module of ours as a process for the time of a block."""
    process = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", module, *arguments],
        text=True,
        cwd=ROOT,
        preexec_fn=die_with_parent,
        **pipes,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on now, at random: others may be looking for some, too."""
    first = 8_700 + free_port_offset()
    free = [port for port in range(first, first + 100) if not taken([port])]
    return free[:count]


def _wait_until_they_answer(urls: Iterable[str], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    for url in urls:
        while True:
            try:
                httpx.put(f"{url}/reservations/1", trust_env=False).raise_for_status()
                break
            except httpx.TransportError as failure:
                if time.monotonic() > deadline:
                    raise CommandError(f"the raw baseline at {url} doesn't start") from failure
                time.sleep(0.05)


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write a report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
