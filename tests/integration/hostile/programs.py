"""The four programs as they are, wired to each other over real sockets, in a thread of this process.

Only what is slow is left out: their databases lie in memory (unless the tests run on PostgreSQL), and so does
the broker unless a real one is named. Requests go out byte by byte (`send`), because no client library sends
what a hostile one does.
"""

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import uvicorn
from fastapi import FastAPI
from sqlmodel import SQLModel

from shared.clock import SystemClock
from shared.database.port import Database
from shared.identity import ulids
from shared.messaging.broker import Broker
from shared.messaging.memory import MemoryBroker
from shared.program import Surroundings
from tests.backing import Backing
from tests.integration.hostile.wire import Answer, Headers, exchange
from tests.simulation.programs import PROGRAMS

T = TypeVar("T")

START_SECONDS: Final = 60.0


class Programs:
    """Coordinator, order, stock and payment, each at a port of its own."""

    def __init__(self, ports: dict[str, int], broker: MemoryBroker | None) -> None:
        self.ports = ports
        self._memory_broker = broker
        self.loop: asyncio.AbstractEventLoop | None = None

    @property
    def broker(self) -> MemoryBroker:
        assert self._memory_broker is not None, "these programs have a real broker"
        return self._memory_broker

    def url(self, program: str) -> str:
        return f"http://127.0.0.1:{self.ports[program]}"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine where the programs run, and wait for its result."""
        assert self.loop is not None
        running: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return running.result(START_SECONDS)

    def send(
        self, method: str, program: str, path: str, body: Any = None, headers: Headers = (), **more: Any
    ) -> Answer:
        """Send one request; path: below /api/v1 unless it begins with //; see exchange for the rest."""
        target = path[1:] if path.startswith("//") else f"/api/v1{path}"
        return exchange(self.ports[program], method, target, body, headers, **more)

    def read(self, program: str, path: str) -> Any:
        """Return what a GET shows; it must be 200."""
        answer = self.send("GET", program, path)
        assert answer.status == 200, answer
        return answer.json()


@contextlib.contextmanager
def running(backing: Backing, bootstrap: str | None = None, **settings: Any) -> Iterator[Programs]:
    """Run the four programs. bootstrap: of a real broker; settings: those that differ from the defaults."""
    with contextlib.ExitStack() as stack:
        sockets = {name: stack.enter_context(_listening()) for name in PROGRAMS}
        ports = {name: each.getsockname()[1] for name, each in sockets.items()}
        stores = {name: backing.store(f"hostile_{name}") for name in PROGRAMS}
        broker = MemoryBroker(SystemClock()) if bootstrap is None else None
        programs = Programs(ports, broker)
        urls = {f"{name}_url": programs.url(name) for name in PROGRAMS}
        chosen = {"retry": "fixed:20ms,3", "kafka_bootstrap_servers": bootstrap, **urls, **settings}
        started, stop = Future[None](), asyncio.Event()

        async def main() -> None:
            programs.loop = asyncio.get_running_loop()
            try:
                async with contextlib.AsyncExitStack() as all_four:
                    for name, listening in sockets.items():
                        await all_four.enter_async_context(
                            _served(name, stores[name], chosen, broker, listening)
                        )
                    started.set_result(None)
                    await stop.wait()
            except BaseException as error:
                if started.done():
                    raise
                started.set_exception(error)

        thread = threading.Thread(target=lambda: asyncio.run(main()), name="programs")
        thread.start()
        try:
            started.result(START_SECONDS)
            yield programs
        finally:
            assert programs.loop is not None
            programs.loop.call_soon_threadsafe(stop.set)
            thread.join()


@contextlib.asynccontextmanager
async def _served(
    name: str,
    database: Database,
    settings: dict[str, Any],
    broker: Broker | None,
    listening: socket.socket,
) -> AsyncIterator[None]:
    """Serve one program, its lifespan included."""
    create, settings_class, tables = PROGRAMS[name]
    await database.start()
    await database.write(lambda connection: SQLModel.metadata.create_all(connection, tables=list(tables)))
    randomness = random.Random(name)
    app = create(
        settings_class(_env_file=None, **settings),
        Surroundings(
            clock=SystemClock(),
            new_id=ulids(SystemClock(), randomness),
            randomness=randomness,
            database=database,
            broker=broker,
        ),
    )
    server = uvicorn.Server(_config(app))
    serving = asyncio.create_task(server.serve([listening]))
    try:
        while not server.started:
            assert not serving.done(), f"{name} doesn't start"
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await serving
        await database.close()


def _config(app: FastAPI) -> uvicorn.Config:
    # As shared.http.server has it, but for the signals, which are pytest's here.
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=3,
    )


@contextlib.contextmanager
def _listening() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        yield listening
