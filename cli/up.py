"""`handfast up`: the whole stack on one machine, under one supervisor.

    handfast up ── broker (a process of its own, unless a broker is configured)
              └─── fork server ── coordinator, order, stock, payment (or several of each)

The fork server imports while the databases are migrated; then the programs start, and once all four say that
they are ready the sample data goes in and `ready` is printed. What dies is started again. SIGTERM, SIGINT and
SIGHUP stop everything in order, SIGUSR1 restarts one process after the other (rolling.py); if `up` itself is
killed, everything dies with it.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from cli.broker import ENVIRONMENT as BROKER_ENVIRONMENT
from cli.broker import Renewal, broker_command
from cli.datadir import DataDirectory, started_at
from cli.ephemeral import new_stack, remove_leftovers, remove_stack
from cli.launcher import ForkServerClient, Launched, execute
from cli.machine import resident_mib
from cli.outcome import CommandError, Usage
from cli.programs import BROKER, Instance, broker_port, instances, programs, stopping_order, taken
from cli.publication import publish
from cli.rolling import SIGNAL, Progress, restart_each
from cli.supervisor import Supervisor
from shared.errors import HandfastError
from shared.http.sockets import bound
from shared.migrations import upgrade
from shared.settings import Settings, database_place

STOPPED_WITHIN = 8.0
"""Seconds that the processes get to stop, all together."""

LOOK_SECONDS = 5.0
"""So often the house is looked after."""

HOPELESS = 5
"""A program that ends so often before the stack was ever ready won't get well by itself."""

Announce = Callable[[str], None]


async def run_up(
    settings: Settings, *, ephemeral: bool, announce: Announce, instances_of_each: int = 1
) -> None:
    """Start a stack, and keep it until a signal stops it. Raises CommandError where it can't start."""
    if instances_of_each > 1 and settings.database_url is None:
        raise Usage(
            "several instances need a database that they can share: set HANDFAST_DATABASE_URL to a PostgreSQL"
        )
    stopping = asyncio.Event()
    if ephemeral:
        settings = await asyncio.to_thread(_begin_ephemeral, settings)
    directory = DataDirectory(settings.data_dir)
    directory.acquire()
    stack = Stack(settings, directory, announce, instances_of_each)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, partial(_ask_to_stop, stopping, stack))
    loop.add_signal_handler(SIGNAL, stack.ask_to_restart)
    try:
        await _unless(stopping, stack.start())
        if not stopping.is_set():
            await _unless(stopping, stack.keep_house())
    finally:
        await stack.stop()
        directory.release()
        if ephemeral:
            await asyncio.to_thread(_end_ephemeral, settings, announce)
    announce("stopped")


def _begin_ephemeral(settings: Settings) -> Settings:
    try:
        remove_leftovers(settings)
    except HandfastError as failure:
        raise CommandError(f"the database can't be used: {failure.detail}") from failure
    return new_stack(settings)


def _end_ephemeral(settings: Settings, announce: Announce) -> None:
    try:
        remove_stack(settings)
    except HandfastError as failure:
        announce(f"its data is left to the next ephemeral stack to remove: {failure.detail}")


class Stack:
    """The processes of one stack. announce: takes lines for the person at the terminal.

    The instances of a program accept from one socket, which is bound here and stays as they come and go:
    while there is none, connections wait.
    """

    def __init__(
        self, settings: Settings, directory: DataDirectory, announce: Announce, instances_of_each: int = 1
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._announce = announce
        self._programs = programs(settings)
        self._instances = instances(settings, instances_of_each)
        self._embedded = not settings.kafka_bootstrap_servers
        self._shared: dict[str, socket.socket] = {}
        self._fork_servers: list[ForkServerClient] = []
        self._supervisor = Supervisor(announce, self._note)
        self._restart = Progress()
        self._restart_wanted = asyncio.Event()

    async def start(self) -> None:
        """Start everything and return once it is ready, with the sample data in."""
        self._directory.end_leftovers()
        await self._check_ports()
        self._announce(f"data directory {self._directory.path}")
        self._shared = {one.name: bound(self._settings.host, one.port) for one in self._programs}
        await self._start_fork_server()
        if self._embedded:
            command = broker_command(broker_port(self._settings))
            log = self._directory.log(BROKER)
            self._supervisor.start(BROKER, partial(execute, command, log, BROKER_ENVIRONMENT))
        await asyncio.to_thread(self._migrate)
        for instance in self._instances:
            # SIGTERM would have it drain first, and there is nobody to whom its clients could go.
            self._supervisor.start(instance.name, partial(self._launch, instance), signal.SIGINT)
        # Imported only now, so that the fork server could begin a tenth of a second earlier.
        from cli.credentials import insist_on_token
        from cli.readiness import ensure_samples, wait_until_ready

        auth = insist_on_token(self._settings)
        if not self._settings.authenticated:
            self._announce(f"no authentication: whoever reaches {self._settings.host} may do everything")
        urls = {instance.name: self._local(instance.port) for instance in self._instances}
        await self._unless_hopeless(wait_until_ready(urls, self._announce, auth))
        stock, payment = (self._local(self._settings.port(name)) for name in ("stock", "payment"))
        if await ensure_samples(self._directory, stock, payment, auth):
            self._announce("sample products and accounts created")
        self._announce("ready")
        for program in self._programs:
            self._announce(f"  {program.name:<12} {program.url}")
            for instance in self._instances:
                if instance.number and instance.program == program:
                    self._announce(f"    {instance.name:<10} {urls[instance.name]}")
        self._announce(f"  {BROKER:<12} {self._settings.bootstrap}{'' if self._embedded else ' (yours)'}")

    async def keep_house(self) -> None:
        """Keep logs and broker bounded for as long as the stack runs; raise where the supervisor failed."""
        renewal = Renewal(self._settings.broker_memory_mib)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._restart_wanted.wait()
            if self._restart_wanted.is_set():
                await self._restart_all()
            await asyncio.to_thread(self._directory.bound_logs)
            self._renew_broker_if_due(renewal)
            self._insist_on_supervision()

    def ask_to_restart(self) -> None:
        """Have every service restarted, one process after the other, once the stack is ready."""
        self._restart_wanted.set()

    async def _restart_all(self) -> None:
        """Restart the services, from a fork server that imports the installed release anew."""
        self._restart_wanted.clear()
        self._announce("restarting one process after the other")
        await self._start_fork_server()
        names = [name for stage in stopping_order(self._instances) for name in stage if name != BROKER]
        await restart_each(names, self._restart, self._restart_one, self._until_ready, self._note)
        if self._restart.problem is not None:
            self._announce(f"the restart ended early: {self._restart.problem}")
            return
        while len(self._fork_servers) > 1:
            await self._fork_servers.pop(0).close()
        self._announce("restarted")

    async def _restart_one(self, name: str) -> None:
        await self._supervisor.restart(name, self._settings.drain_seconds + STOPPED_WITHIN)

    async def _until_ready(self, name: str) -> None:
        from cli.credentials import insist_on_token
        from cli.readiness import wait_until_ready

        port = next(instance.port for instance in self._instances if instance.name == name)
        auth = insist_on_token(self._settings)
        await wait_until_ready({name: self._local(port)}, self._announce, auth)

    def _renew_broker_if_due(self, renewal: Renewal) -> None:
        pid = self._supervisor.pids().get(BROKER)
        mib = None if pid is None else resident_mib(pid)
        if pid is None or mib is None:
            return  # It is being started, or nothing tells its memory on this system.
        if renewal.due(pid, mib, asyncio.get_running_loop().time()):
            self._announce(f"broker holds {mib:.0f} MiB of records and is renewed")
            self._supervisor.renew(BROKER)

    async def stop(self) -> None:
        """Stop everything that runs, in order."""
        if self._supervisor.pids():
            self._announce("stopping")
        killed = await self._supervisor.stop(stopping_order(self._instances), STOPPED_WITHIN)
        if killed:
            self._announce(f"killed, because they took too long to stop: {', '.join(killed)}")
        for fork_server in self._fork_servers:
            await fork_server.close()
        for shared in self._shared.values():
            shared.close()

    def kill(self) -> None:
        """Kill everything that runs, at once."""
        for pid in self._supervisor.pids().values():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    async def _check_ports(self) -> None:
        """Raise Usage where a port is taken, after giving what an earlier `up` left a moment to go."""
        names = {instance.port: instance.name for instance in self._instances}
        names |= {program.port: program.name for program in self._programs}
        if self._embedded:
            names[broker_port(self._settings)] = BROKER
        if too_high := [port for port in names if port > 65_535]:
            raise Usage(f"there is no port {max(too_high)}: choose a smaller --port-offset")
        busy = taken(names, self._settings.host)
        for _ in range(20):
            if not busy:
                return
            await asyncio.sleep(0.05)
            busy = taken(names, self._settings.host)
        listed = ", ".join(f"{port} ({names[port]})" for port in busy)
        raise Usage(
            f"already in use: port {listed}. Stop what listens there, or choose another --port-offset"
        )

    async def _start_fork_server(self) -> None:
        """Start one from which programs are forked from now on; those of an earlier one run on."""
        inherited = [one.fileno() for one in self._shared.values()]
        self._fork_servers.append(ForkServerClient(self._directory.log("forkserver"), inherited))
        await self._fork_servers[-1].start()

    async def _launch(self, instance: Instance) -> Launched:
        program = instance.program
        environment = {
            "HANDFAST_DATA_DIR": str(self._directory.path),
            "HANDFAST_PORT_OFFSET": str(self._settings.port_offset),
            "HANDFAST_DATABASE_SCHEMA": self._settings.database_schema,
            "HANDFAST_INSTANCE": str(instance.number),
            "HANDFAST_LISTEN_FD": str(self._shared[program.name].fileno()),
        }
        return await self._fork_servers[-1].launch(
            instance.name, program.module, self._directory.log(instance.name), environment
        )

    def _migrate(self) -> None:
        for program in self._programs:
            place = database_place(self._settings, program.name)
            try:
                changed = upgrade(place, program.name)
            except HandfastError as failure:
                raise CommandError(f"{place} can't be migrated: {failure.detail}") from failure
            if changed:
                self._announce(f"database of {program.name} migrated")
        publish(self._settings)

    def _insist_on_supervision(self) -> None:
        if crashed := self._supervisor.crashed():
            raise CommandError(f"the supervisor failed: {'; '.join(crashed)}")

    async def _unless_hopeless(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work; raise CommandError as soon as a program turns out to be unable to start."""
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait([task], timeout=0.1))[0]:
                if hopeless := self._supervisor.failing(HOPELESS):
                    raise CommandError(self._why_hopeless(hopeless))
                self._insist_on_supervision()
        finally:
            task.cancel()
        await task

    def _why_hopeless(self, names: list[str]) -> str:
        ends = []
        for name in names:
            log = self._directory.log(name)
            last = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
            ends.append(
                "\n".join([f"{name} doesn't start; the end of {log}:", *(f"  {line}" for line in last)])
            )
        return "\n".join(ends)

    def _local(self, port: int) -> str:
        """Return where a port is reached on this machine, whatever address others know it by."""
        host = self._settings.host
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
        return f"http://{host}:{port}"

    def _note(self) -> None:
        ports = {instance.name: instance.port for instance in self._instances}
        ports[BROKER] = broker_port(self._settings)
        processes: list[dict[str, Any]] = [
            {"name": name, "pid": pid, "port": ports[name], "startedAt": started_at(pid)}
            for name, pid in self._supervisor.pids().items()
        ]
        self._directory.note(processes, self._restart.note())


def _ask_to_stop(stopping: asyncio.Event, stack: Stack) -> None:
    # Whoever asks twice is in a hurry.
    if stopping.is_set():
        stack.kill()
    stopping.set()


async def _unless(stopping: asyncio.Event, work: Any) -> None:
    """Do some work to its end, or until stopping is set; raise what it raises."""
    task = asyncio.ensure_future(work)
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not task.done():
        task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise
