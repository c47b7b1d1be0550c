"""The simulated world: the four real programs in one event loop on virtual time, with a network, a broker and
databases between them that do what real ones do to programs. The same seed gives the same history."""

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import pydantic_core
from fastapi import FastAPI
from sqlmodel import SQLModel

from shared.clock import Millis
from shared.database.inline import InlineDatabase
from shared.http.caller import Reply
from shared.identity import ulids
from shared.messaging.memory import MemoryBroker
from shared.program import Surroundings
from tests.simulation.conditions import Conditions
from tests.simulation.kafka import SESSION_SECONDS, LifesBroker
from tests.simulation.life import Life, watch_tasks
from tests.simulation.loop import VirtualClock
from tests.simulation.network import CUSTOMER, Network, origin
from tests.simulation.past import Past
from tests.simulation.programs import PROGRAMS, forget, instances
from tests.simulation.store import LifesDatabase, Server
from tests.simulation.trace import Trace
from tests.simulation.watch import Watch

GRACE_SECONDS: Final = 5.0
"""What a reconciliation takes for late: less than in earnest, so that it finds more to be wrong about."""
RETENTION_PAUSE_SECONDS: Final = 5.0
RETENTION: Final[Mapping[str, Any]] = {
    "topic_retention_hours": 300 / 3_600,
    "letter_retention_hours": 330 / 3_600,
    # Half of it is more than any two clocks are apart: one may be ten minutes ahead, another ten behind.
    "transaction_retention_hours": 2_460 / 3_600,
    "idempotency_retention_hours": 1.0,
    "retention_pause_seconds": RETENTION_PAUSE_SECONDS,
}
"""Minutes instead of weeks, so that something goes in the midst of the troubles."""
STARTS_AGAIN: Final = 1.0
"""Seconds until a program that could not start is started again."""


class Host:
    """A program over its lives: what survives a crash is its database and its clock.

    name: program, or with a number where several instances of it share one server.
    """

    def __init__(self, name: str, program: str, clock: VirtualClock, server: Server) -> None:
        self.name = name
        self.program = program
        self.clock = clock
        self.server = server
        self.store = server.store
        self.life: Life | None = None
        self.app: FastAPI | None = None
        self.broker: LifesBroker | None = None
        self.lives = 0
        self.ended: asyncio.Event | None = None
        self.runner: asyncio.Task[None] | None = None

    def earliest(self) -> Millis:
        """Return the earliest instant that it may take for now: its own, its server's, or the true one."""
        server = self.server.clock
        return min(self.clock.now(), server.now(), server.now() - server.skew)


class World:
    """Four programs that can be talked to and troubled. conditions: the faults that are on just now.

    each: how many instances of every program share its database.
    """

    def __init__(self, seed: object = 1, *, keep_trace: bool = False, each: int = 1) -> None:
        loop = asyncio.get_running_loop()
        watch_tasks(loop)
        self._seed = seed
        self.trace = Trace(loop, keep=keep_trace)
        self.clock = VirtualClock(loop)
        self.broker = MemoryBroker(self.clock)
        self.conditions = Conditions(self._source("conditions"))
        self.servers = {
            name: Server(InlineDatabase(), VirtualClock(loop), self._source(f"{name}/hints"))
            for name in PROGRAMS
        }
        self.hosts = {
            name: Host(name, program, VirtualClock(loop), self.servers[program])
            for name, program in instances(each).items()
        }
        self._opened: set[str] = set()
        self.watch = Watch(lambda name: self.hosts[name])
        self.past = Past()
        self.network = Network(
            self.hosts, self.conditions, self._source("network"), self.trace, self.watch, self.past
        )
        self._customer = self.network.caller(CUSTOMER)
        self._keepers: set[asyncio.Task[None]] = set()

    async def start(self, name: str) -> None:
        """Start a program on its database, which is made at its first start."""
        host = self.hosts[name]
        assert host.life is None or not host.life.alive, f"{name} runs already"
        program = PROGRAMS[host.program]
        if host.program not in self._opened:
            self._opened.add(host.program)
            await host.store.start()
            host.store.write_now(
                lambda connection: SQLModel.metadata.create_all(connection, tables=list(program.tables))
            )
        host.lives += 1
        life = host.life = Life(name, host.lives)
        self.trace.note(f"{name} starts its life {life.number}")
        where = f"{name}/{life.number}"
        source = self._source(where)
        database = LifesDatabase(
            life, host.server, self.conditions, self._source(f"{where}/disk"), self.trace, self.watch
        )
        host.broker = LifesBroker(
            life,
            self.broker,
            self.conditions,
            self._source(f"{where}/broker"),
            self.trace,
            self.watch,
            self.past,
        )
        app = program.create(
            program.settings(_env_file=None, reconcile_grace_seconds=GRACE_SECONDS, **RETENTION),
            Surroundings(
                clock=host.clock,
                new_id=ulids(host.clock, source),
                randomness=source,
                database=database,
                broker=host.broker,
                caller=self.network.caller(name, life),
            ),
        )
        host.ended = asyncio.Event()
        up = asyncio.Event()
        host.runner = life.spawn(_live(host, app, up, host.ended))
        starting = asyncio.ensure_future(up.wait())
        await asyncio.wait((starting, host.runner), return_when=asyncio.FIRST_COMPLETED)
        starting.cancel()

    async def stop(self, name: str) -> None:
        """Stop a program as SIGTERM does; its database stays."""
        host = self.hosts[name]
        assert host.ended is not None
        assert host.runner is not None
        assert host.life is not None
        host.ended.set()
        await host.runner
        host.life.alive = False

    async def crash(self, name: str) -> None:
        """Kill a program wherever it is."""
        host = self.hosts[name]
        if host.life is None or not host.life.alive:
            return
        self.trace.note(f"{name} crashes")
        host.app = None
        host.life.crash()
        self._later(SESSION_SECONDS, host.broker)

    async def pause(self, name: str, seconds: float) -> None:
        """Stop a program for a while, as SIGSTOP does: its group goes on without it."""
        host = self.hosts[name]
        life, broker = host.life, host.broker
        if life is None or broker is None or not life.alive or life.paused:
            return
        self.trace.note(f"{name} is paused for {seconds:g} s")
        life.pause()
        await asyncio.sleep(min(SESSION_SECONDS, seconds))
        out = seconds > SESSION_SECONDS
        if out:
            await broker.expel()
            await asyncio.sleep(seconds - SESSION_SECONDS)
        self.trace.note(f"{name} goes on")
        life.resume()
        while out and not self.broker.available:  # noqa: ASYNC110 - nothing tells when it is back
            await asyncio.sleep(SESSION_SECONDS)
        if out and life is host.life:
            await broker.rejoin()

    async def close(self) -> None:
        """End everything."""
        for host in self.hosts.values():
            if host.life is not None and host.life.alive:
                host.life.resume()
                await self.stop(host.name)
        await self.network.close()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for server in self.servers.values():
            await server.store.close()

    @property
    def programs(self) -> Collection[str]:
        """The programs, however many instances of each there are."""
        return self.servers.keys()

    def pass_time(self, by: Millis) -> None:
        """Set every clock on, as if nothing had happened for so long."""
        servers = (server.clock for server in self.servers.values())
        for clock in (self.clock, *(host.clock for host in self.hosts.values()), *servers):
            clock.passed += by

    async def call(self, method: str, program: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Send a request as a customer would; raise Unreachable where no answer comes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = None if body is None else pydantic_core.to_json(body)
        url = f"{origin(program)}/api/v1{path}"
        return await self._customer.call(method, url, headers=named, body=content, timeout=60)

    async def read(self, program: str, path: str) -> Any:
        """Return what a GET answers; it must be 200."""
        reply = await self.call("GET", program, path)
        assert reply.status == 200, reply
        return reply.json()

    def _source(self, name: str) -> random.Random:
        """Return a source of randomness of its own, so that one more draw here changes nothing there."""
        return random.Random(f"{self._seed}/{name}")

    def _later(self, seconds: float, broker: LifesBroker | None) -> None:
        """Have the group notice, once its session is over, that a member is gone."""

        async def notice() -> None:
            await asyncio.sleep(seconds)
            if broker is not None:
                await broker.expel()

        keeper = asyncio.get_running_loop().create_task(notice())
        self._keepers.add(keeper)
        keeper.add_done_callback(self._keepers.discard)


async def _live(host: Host, app: FastAPI, up: asyncio.Event, ended: asyncio.Event) -> None:
    async with app.router.lifespan_context(app):
        host.app = app
        up.set()
        await ended.wait()
        host.app = None


@asynccontextmanager
async def world(seed: object = 1, *, keep_trace: bool = False, each: int = 1) -> AsyncIterator[World]:
    """Have all four programs run in a calm world."""
    one = World(seed, keep_trace=keep_trace, each=each)
    try:
        for name in one.hosts:
            await one.start(name)
        yield one
    finally:
        await one.close()
        forget()
