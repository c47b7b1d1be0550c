"""One run of chaos on real processes: customers shop while the plan comes true, then everything heals, and
what is left must be as the invariants say and as the customers were told.

    customers ──[proxy]── order ──[proxy]── coordinator ──[proxies]── order, stock, payment
                                                  ▲──[proxy]── stock, payment (inquiries)
    all four ──[proxy]── PostgreSQL, where it is that the data lies

The checker and the customers' other errands go to the programs' own ports. Kafka is not behind a proxy: the
broker is killed, which empties it, and stopped.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Final

import aiohttp

from cli.stack import OwnStack, free_port_offset, start_stack
from shared.settings import PORTS
from tests.backing import Backing
from tests.chaos.aftermath import (
    alarms,
    ends,
    family_of,
    left_behind,
    standing_alone,
    unable_to_start,
    unexplained_ends,
)
from tests.chaos.plan import (
    CUSTOMERS,
    DATABASE,
    LINKS,
    Form,
    Trouble,
    draw,
    names_of,
    subjects_of,
)
from tests.chaos.processes import Processes
from tests.chaos.proxy import Proxy, address_of, listeners, url_at, url_of
from tests.chaos.turmoil import Say, Turmoil
from tests.collector import collect, deposits_of
from tests.customers import Customers, Send
from tests.e2e.lines import answers_ready, line_to
from tests.e2e.settled import until_settled
from tests.invariants import broken, unfinished, unkept
from tests.postgres import Server

WORKERS: Final = 12
PAUSE: Final = (0.05, 0.4)
"""Seconds between two visits of a customer."""
CALL_SECONDS: Final = 25.0
REPEATED: Final = 200
"""Orders that are placed once more at the end, at most."""
LOOK: Final = 0.1


@dataclass(frozen=True, slots=True)
class Case:
    """What is run.

    on_server: whether the data is in PostgreSQL; instances: of each program, several only if it is; settings:
    of the programs, besides their defaults; patience: seconds for which customers repeat a request;
    heal_within: seconds in which all must be final once the troubles have ended.
    """

    seed: int
    form: Form
    on_server: bool = False
    instances: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)
    patience: float = 300.0
    heal_within: float = 300.0

    @property
    def plan(self) -> tuple[Trouble, ...]:
        whom = subjects_of(on_server=self.on_server, instances=self.instances)
        return draw(self.seed, self.form, whom)

    @property
    def links(self) -> tuple[str, ...]:
        """Whatever has a proxy before it."""
        return (*LINKS, DATABASE) if self.on_server else LINKS


@dataclass(slots=True)
class Outcome:
    """How it went. Counted at the end: orders, confirmed, cancelled, transactions, reservations (standalone
    ones among them). repeats: requests that customers sent again until they knew; placed_again: final orders
    that were placed once more; struck: the troubles that did something, by kind and subject; connections: how
    many went through the proxies; hit: how many of them, or chunks on them, were struck, by kind; ends: how
    often each process was started again; whole_pauses: those that no kill cut short; ready_seconds,
    final_seconds: from the end of the troubles until all programs were ready, and until all was final;
    violations: what must not be."""

    orders: int = 0
    confirmed: int = 0
    cancelled: int = 0
    transactions: int = 0
    reservations: int = 0
    repeats: int = 0
    placed_again: int = 0
    struck: dict[str, dict[str, int]] = field(default_factory=dict)
    connections: int = 0
    hit: dict[str, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    whole_pauses: int = 0
    ready_seconds: float = 0.0
    final_seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


def run_chaos(case: Case, directory: Path, backing: Backing, say: Say) -> Outcome:
    """Run one case on a stack of its own, whose logs, and files of data, are left in that directory."""
    outcome = Outcome()
    offset = free_port_offset(instances=case.instances)
    # The stack ends with the thread that starts it, and starts while the proxies run already.
    with listeners(case.links) as listening, ThreadPoolExecutor(1) as starter:
        told = {**backing.environment(directory), **case.settings, **_ways(listening, backing)}
        starting = starter.submit(
            start_stack,
            port_offset=offset,
            data_dir=directory,
            environment=told,
            instances=case.instances,
        )
        say(f"seed {case.seed}: {_troubles(case)}, on a stack in {directory}")

        async def run() -> None:
            async with _proxies(case, listening, offset, backing) as proxies:
                stack = await asyncio.wrap_future(starting)
                door = url_of(listening[CUSTOMERS])
                await _Run(case, stack, proxies, door, backing.database, say, outcome).run()

        try:
            asyncio.run(run())
        finally:
            stack = starting.result()
            running = family_of(stack)
            code = stack.stop()
    outcome.violations += left_behind(running, stack, code)
    outcome.violations += alarms(stack.directory.logs)
    return outcome


def _troubles(case: Case) -> str:
    return f"{len(case.plan)} troubles in {case.form.seconds:.0f} s"


def _ways(listening: Mapping[str, socket], backing: Backing) -> dict[str, str]:
    """Return, as settings, how the programs reach each other and their server: by the proxies."""
    ways = {f"HANDFAST_{name.upper()}_URL": url_of(listening[name]) for name in PORTS}
    if backing.database is not None:
        ways["HANDFAST_DATABASE_URL"] = backing.database.url_at(address_of(listening[DATABASE])[1])
    return ways


@asynccontextmanager
async def _proxies(
    case: Case, listening: Mapping[str, socket], offset: int, backing: Backing
) -> AsyncIterator[dict[str, Proxy]]:
    """Have a proxy run before whatever a link leads to."""
    behind = {name: ("127.0.0.1", port + offset) for name, port in PORTS.items()}
    behind[CUSTOMERS] = behind["order"]
    if backing.database is not None:
        behind[DATABASE] = ("127.0.0.1", backing.database.port)
    async with AsyncExitStack() as running:
        proxies = {}
        for link in case.links:
            proxy = Proxy(listening[link], behind[link], random.Random(f"{case.seed}/{link}"))
            proxies[link] = proxy
            await running.enter_async_context(proxy.run())
        yield proxies


class _Run:
    """What goes on while the stack and the proxies run. door: where customers come in."""

    def __init__(
        self,
        case: Case,
        stack: OwnStack,
        proxies: Mapping[str, Proxy],
        door: str,
        database: Server | None,
        say: Say,
        outcome: Outcome,
    ) -> None:
        self._case = case
        self._stack = stack
        self._proxies = proxies
        self._door = door
        self._database = database
        self._say = say
        self._outcome = outcome
        self._processes = Processes(stack.processes)

    async def run(self) -> None:
        async with self._lines() as (customers, clerk):
            before = await deposits_of(clerk.read)
            await customers.open()
            deposits = before | await deposits_of(clerk.read)
            await self._go_on(self._shop(customers, clerk))
            await self._go_on(self._check(customers, clerk, deposits))

    async def _go_on(self, work: Awaitable[None]) -> None:
        """Do some work; what it waits for in vain is a violation, and no reason not to look at the rest."""
        try:
            await work
        except* AssertionError as errors:
            self._outcome.violations += [f"[it went on] {error}" for error in _flat(errors)]

    async def _shop(self, customers: Customers, clerk: Customers) -> None:
        """Have customers shop until the troubles are over and all of them know; wait until all is final."""
        turmoil = Turmoil(self._processes, self._proxies, self._case.plan, self._say, self._database)
        closing = asyncio.Event()
        healed = 0.0

        async def troubles() -> None:
            nonlocal healed
            await turmoil.run()
            healed = time.monotonic()
            closing.set()
            self._say("the troubles are over")
            await self._until_ready()
            self._outcome.ready_seconds = time.monotonic() - healed

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(WORKERS):
                    group.create_task(customers.shop(closing))
                group.create_task(troubles())
        finally:
            for (kind, subject), times in sorted(turmoil.struck.items()):
                self._outcome.struck.setdefault(kind, {})[subject] = times
            self._outcome.whole_pauses = turmoil.whole_pauses
        await until_settled(clerk.read, self._case.heal_within)
        self._outcome.final_seconds = time.monotonic() - healed
        self._say(f"all is final {self._outcome.final_seconds:.1f} s after that")

    async def _check(self, customers: Customers, clerk: Customers, deposits: Mapping[str, int]) -> None:
        """Compare what is left with the invariants and with what customers were told."""
        snapshot = await collect(clerk.read, deposits)
        found = [*broken(snapshot), *unfinished(snapshot), *unkept(snapshot, customers.promises)]
        violations = [str(finding) for finding in found]
        violations += [f"[no dead letters] {letter}" for letter in snapshot.letters]
        violations += standing_alone(customers, snapshot)
        again = sorted(customers.wishes)
        again = again[:: max(1, -(-len(again) // REPEATED))]
        for order_id in again:
            await customers.repeat(order_id)
        if await collect(clerk.read, deposits) != snapshot:
            violations.append("[repeats change nothing] what is left differs after orders were placed again")
        violations += [f"[the answers fit] {wrong}" for wrong in customers.wrong]
        unable = unable_to_start(self._stack.directory.logs)
        violations += unexplained_ends(self._stack.output, self._processes.sent, unable)
        statuses = Counter(order.status for order in snapshot.orders)
        one = self._outcome
        one.violations += violations
        one.orders, one.confirmed = len(snapshot.orders), statuses["CONFIRMED"]
        one.cancelled = statuses["CANCELLED"]
        one.transactions, one.reservations = len(snapshot.transactions), len(snapshot.reservations)
        one.placed_again, one.repeats = len(again), customers.repeats
        one.connections = sum(proxy.connections for proxy in self._proxies.values())
        hit: Counter[str] = Counter()
        for proxy in self._proxies.values():
            hit.update(proxy.struck)
        one.hit = dict(hit)
        one.ends = dict(Counter(name for name, _ in ends(self._stack.output)))

    async def _until_ready(self) -> None:
        end = time.monotonic() + self._case.heal_within
        waiting = set(names_of(self._case.instances))
        while waiting:
            urls = {name: url_at(process["port"]) for name, process in self._stack.processes().items()}
            waiting -= {name for name in waiting & urls.keys() if await answers_ready(urls[name])}
            assert time.monotonic() < end, f"not ready in {self._case.heal_within:.0f} s: {sorted(waiting)}"
            await asyncio.sleep(LOOK)

    @asynccontextmanager
    async def _lines(self) -> AsyncIterator[tuple[Customers, Customers]]:
        """Have customers, who come to the order service by its proxy, and a clerk, who reads without any."""
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        settings = self._stack.settings
        async with aiohttp.ClientSession(timeout=timeout) as session:
            direct = line_to(settings, session)
            door = line_to(settings.model_copy(update={"order_url": self._door}), session)
            yield self._served(door, "customers", PAUSE), self._served(direct, "clerk", PAUSE)

    def _served(self, send: Send, who: str, pause: tuple[float, float]) -> Customers:
        randomness = random.Random(f"{self._case.seed}/{who}")
        return Customers(send, randomness, patience=self._case.patience, pause=pause)


def _flat(errors: BaseExceptionGroup[AssertionError]) -> Iterator[BaseException]:
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error
