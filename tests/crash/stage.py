"""The stage of the matrix: a real stack whose processes can be killed at points, and who else plays.

Beside the stack there are its customers, a participant with an external effect (`toy`) with its gateway, a
second member of the stock service's consumer group where one is wanted, and the command line.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp

from cli.launcher import ROOT
from cli.lifeline import die_with_parent
from cli.programs import BROKER
from cli.stack import OwnStack, free_port_offset, own_stack
from shared.settings import PORTS
from tests.backing import Backing
from tests.collector import deposits_of
from tests.contract.gateway import Gateway
from tests.crash.arms import DIRECTORY, Action, Arms
from tests.crash.gateway import served
from tests.crash.points import SEAMS, Wait, label_of
from tests.crash.program import MODULE, PROGRAM
from tests.crash.toy import GATEWAY, NAME, PORT
from tests.customers import Customers, Send, UncertainError
from tests.e2e.lines import answers_ready, line_to
from tests.e2e.waiting import until

TOY_PORT: Final = 8890
"""Plus the stack's offset, like the programs' own."""
SEED: Final = 3
TIMEOUT: Final = {"HANDFAST_TRANSACTION_TIMEOUT_SECONDS": "30"}
"""Nothing runs out of time while a process is away, so that each case has one required result."""
HASTY: Final = {
    "HANDFAST_RETRY": "fixed:100ms,3",
    "HANDFAST_REPUBLISH_SECONDS": "1",
    "HANDFAST_REPUBLISH_MAX_SECONDS": "4",
    "HANDFAST_LEASE_SECONDS": "1",
    "HANDFAST_ORDER_PATIENCE_SECONDS": "3",
    "HANDFAST_ORDER_GRACE_SECONDS": "1",
    "HANDFAST_SWEEP_SECONDS": "0.5",
}
"""What shortens the waits for what nobody speaks of any more."""


class Stage:
    """instances: of each program; gateway: what the toy's effects did outside; deposits: what was paid into
    each account; left_behind: what was found wrong in earlier cases, and is theirs alone."""

    def __init__(
        self,
        stack: OwnStack,
        arms: Arms,
        send: Send,
        gateway: Gateway,
        environment: Mapping[str, str],
        instances: int,
    ) -> None:
        self.stack = stack
        self.instances = instances
        self.arms = arms
        self.customers = Customers(send, random.Random(SEED))
        self.gateway = gateway
        self.deposits: dict[str, int] = {}
        self.left_behind: set[str] = set()
        self._environment = environment
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def directory(self) -> Path:
        return self.stack.settings.data_dir

    def pids(self, program: str) -> set[int]:
        """Return the pids of a program of the stack, or of one of our own."""
        if program not in PORTS:
            return {self.children[program].pid}
        running = self.stack.processes().items()
        return {one["pid"] for name, one in running if name.partition("-")[0] == program}

    async def is_complete(self) -> bool:
        """Say whether every instance of every program runs, and is ready."""
        running = self.stack.processes().values()
        urls = [f"http://127.0.0.1:{one['port']}" for one in running if one["name"] != BROKER]
        if len(urls) < self.instances * len(PORTS):
            return False
        return all([await answers_ready(url) for url in urls])

    def make_wait(self, place: Wait) -> None:
        """Have a process wait when it comes to that place."""
        self.arms.arm(_label(place), Action.WAIT)

    async def until_waiting(self, place: Wait) -> None:
        """Return once a process waits there."""
        await until(lambda: self.arms.waiting(_label(place)) is not None, place.value)

    def let_pass(self, *places: Wait) -> None:
        """Let those who wait go on: at those places, or at all."""
        for place in places or Wait:
            self.arms.disarm(_label(place))

    def freeze_supervisor(self) -> None:
        """Keep `up` from starting anything again: what is dead stays dead for a while."""
        os.kill(self.stack.process.pid, signal.SIGSTOP)

    def thaw_supervisor(self) -> None:
        os.kill(self.stack.process.pid, signal.SIGCONT)

    def start_toy(self) -> None:
        """Start the participant with an external effect."""
        told = {PROGRAM: NAME, MODULE: "tests.crash.toy"}
        self._start(NAME, "tests.crash.program", **told)

    def start_second_stock(self) -> None:
        """Start another stock service over the same database, a second member of its group."""
        settings = self.stack.settings
        self._start(
            "second stock",
            "stock_service.app",
            HANDFAST_PORT_OFFSET=str(free_port_offset()),
            HANDFAST_KAFKA_BOOTSTRAP_SERVERS=settings.bootstrap,
            HANDFAST_COORDINATOR_URL=settings.url("coordinator"),
            HANDFAST_STOCK_URL=settings.url("stock"),
        )

    def start_command(self, *arguments: str) -> None:
        """Start `handfast` with some arguments, as a process that can be killed at its points."""
        self._start("command", "tests.crash.command", *arguments)

    async def run_command(self, *arguments: str) -> int:
        """Run `handfast` with some arguments; return its exit code."""
        self._start("command again", "cli.main", *arguments)
        return await asyncio.to_thread(self.children["command again"].wait)

    async def end(self, name: str) -> int:
        """End one of our own processes; return its exit code."""
        child = self.children[name]
        if child.poll() is None:
            child.terminate()
        return await asyncio.to_thread(child.wait)

    async def read(self, program: str, path: str) -> Any:
        return await self.customers.read(program, path)

    def _start(self, name: str, module: str, *arguments: str, **more: str) -> None:
        settings = self.stack.settings
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("HANDFAST_")}
        own = {
            "HANDFAST_DATA_DIR": str(self.directory),
            "HANDFAST_PORT_OFFSET": str(settings.port_offset),
            "PYTHONPATH": str(ROOT),
        }
        with self.stack.directory.log(name.replace(" ", "-")).open("ab") as log:
            self.children[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**inherited, **self._environment, **own, **more},
                preexec_fn=partial(die_with_parent, signal.SIGKILL),
            )

    async def close(self) -> None:
        self.thaw_supervisor()
        for child in self.children.values():
            if child.poll() is None:
                child.kill()
            await asyncio.to_thread(child.wait)


@asynccontextmanager
async def set_up(
    directory: Path, backing: Backing, *, hasty: bool, instances: int = 1
) -> AsyncIterator[Stage]:
    """Start everything; stop it at the end of the block.

    hasty: don't wait as long as the defaults do; instances: of each program.
    """
    data = directory / "data"
    offset = free_port_offset(instances=instances)
    arms = Arms(directory / "crash")
    gateway = Gateway()
    async with AsyncExitStack() as cleaning:
        url = await cleaning.enter_async_context(served(gateway))
        session = await cleaning.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=25))
        )
        environment = {
            **backing.environment(data),
            **TIMEOUT,
            **(HASTY if hasty else {}),
            "HANDFAST_PARTICIPANTS": json.dumps(_participants(offset)),
            DIRECTORY: str(arms.directory),
            PORT: str(TOY_PORT + offset),
            GATEWAY: url,
        }
        # In this thread, with which it would end; nobody needs the event loop meanwhile.
        stack = cleaning.enter_context(
            own_stack(
                port_offset=offset,
                data_dir=data,
                environment=environment,
                module="tests.crash.command",
                instances=instances,
            )
        )
        send = _line(stack, f"http://127.0.0.1:{TOY_PORT + offset}", session)
        stage = Stage(stack, arms, send, gateway, environment, instances)
        cleaning.push_async_callback(stage.close)
        stage.start_toy()
        await stage.read(NAME, "/toys")
        stage.deposits = await deposits_of(stage.read)
        yield stage


def _label(place: Wait) -> str:
    [program] = SEAMS[place].programs
    return label_of(place, program)


def _participants(offset: int) -> list[dict[str, Any]]:
    told = (
        ("order", PORTS["order"], "order-reservations", "order-confirmation"),
        ("stock", PORTS["stock"], "stocks", "stock-adjustment"),
        ("payment", PORTS["payment"], "payments", "payment-capture"),
        (NAME, TOY_PORT, "toys", "toy-confirmation"),
    )
    return [
        {
            "name": name,
            "url": f"http://127.0.0.1:{port + offset}",
            "path": f"/api/v1/{path}",
            "confirm": f"kafka:{topic}",
        }
        for name, port, path, topic in told
    ]


def _line(stack: OwnStack, toy_url: str, session: aiohttp.ClientSession) -> Send:
    """Return what reaches the stack's programs and the toy."""
    to_stack = line_to(stack.settings, session)

    async def send(
        method: str, program: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[int, str]:
        if program != NAME:
            return await to_stack(method, program, path, body, headers)
        try:
            url = f"{toy_url}/api/v1{path}"
            async with session.request(method, url, json=body, headers=headers) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UncertainError(repr(error)) from error

    return send
