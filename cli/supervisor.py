"""Keeps processes running: each has a keeper that starts it, waits for its end and starts it again.

The pause between two starts doubles from a tenth of a second to five seconds, and is short again after a
process has lived for a while: one that crashed once is back at once, one that can't start burns no CPU.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from cli.launcher import Launched, LaunchFailed

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
LONG_ENOUGH = 10.0
"""A process that lived this many seconds is taken to have been well."""

Launch = Callable[[], Awaitable[Launched]]


@dataclass
class Child:
    """A process under supervision.

    stopped_by: the signal with which it is stopped for good; process: None while it isn't running; starts:
    how often it was started; came: is set when it was; renewing: whether its next end is wanted.
    """

    name: str
    launch: Launch
    stopped_by: signal.Signals
    process: Launched | None = None
    starts: int = 0
    failures: int = 0
    renewing: bool = False
    came: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    keeper: "asyncio.Task[None] | None" = None


class Supervisor:
    """Starts, restarts and stops processes.

    report: takes a sentence for the person at the terminal; changed: is called when a process came or went.
    """

    def __init__(self, report: Callable[[str], None], changed: Callable[[], None]) -> None:
        self._report = report
        self._changed = changed
        self._children: dict[str, Child] = {}

    def start(self, name: str, launch: Launch, stopped_by: signal.Signals = signal.SIGTERM) -> None:
        """Keep a process running from now on; stopped_by: the signal with which it is stopped for good."""
        child = self._children[name] = Child(name, launch, stopped_by)
        child.keeper = asyncio.create_task(self._keep(child), name=f"keeper of {name}")

    def pids(self) -> dict[str, int]:
        """Return the pids of what is running just now, by name."""
        return {
            name: child.process.pid for name, child in self._children.items() if child.process is not None
        }

    def renew(self, name: str) -> None:
        """End a process that runs, so that its keeper starts it anew."""
        process = self._children[name].process
        if process is not None:
            _send(process, signal.SIGTERM)

    async def restart(self, name: str, seconds: float) -> None:
        """End a process by SIGTERM, and return once its keeper has started it anew.

        What hasn't ended within `seconds` is killed.
        """
        child = self._children[name]
        child.renewing = True
        child.came.clear()
        self.renew(name)
        try:
            async with asyncio.timeout(seconds):
                await child.came.wait()
        except TimeoutError:
            self._report(f"{name} is killed, because it took too long to stop")
            if child.process is not None:
                _send(child.process, signal.SIGKILL)
            await child.came.wait()

    def failing(self, times: int) -> list[str]:
        """Return the names of the processes that ended at least so often, one soon after the other."""
        return [name for name, child in self._children.items() if child.failures >= times]

    def crashed(self) -> list[str]:
        """Return the names of keepers that failed themselves: a fault of ours."""
        return [
            f"{child.name}: {child.keeper.exception()!r}"
            for child in self._children.values()
            if child.keeper is not None
            and child.keeper.done()
            and not child.keeper.cancelled()
            and child.keeper.exception() is not None
        ]

    async def stop(self, stages: Sequence[Sequence[str]], seconds: float) -> list[str]:
        """Stop everything, stage after stage; return the names of those that had to be killed.

        Each stage gets its share of the seconds that are left; what hasn't ended by then is killed.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        for child in self._children.values():
            child.stop.set()
        killed: list[str] = []
        for number, stage in enumerate(stages):
            share = max(0.0, deadline - loop.time()) / (len(stages) - number)
            children = [self._children[name] for name in stage if name in self._children]
            killed += [
                name for name in await asyncio.gather(*(self._end(c, share) for c in children)) if name
            ]
        return killed

    async def _keep(self, child: Child) -> None:
        pause = FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while not child.stop.is_set():
            started = loop.time()
            ended = await self._run(child)
            if child.stop.is_set():
                return
            if child.renewing:
                child.renewing = False
                continue
            if loop.time() - started >= LONG_ENOUGH:
                pause, child.failures = FIRST_PAUSE, 0
            child.failures += 1
            self._report(f"{child.name} {ended}; it is started again in {pause:.1f} s")
            try:
                async with asyncio.timeout(pause):
                    await child.stop.wait()
            except TimeoutError:
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _run(self, child: Child) -> str:
        """Run the process once; return how it ended."""
        try:
            process = await child.launch()
        except (LaunchFailed, OSError) as failure:
            return f"could not be started ({failure})"
        child.process = process
        child.starts += 1
        child.came.set()
        self._changed()
        if child.stop.is_set():
            _send(process, child.stopped_by)
        status = await process.wait()
        child.process = None
        self._changed()
        return describe(status)

    async def _end(self, child: Child, seconds: float) -> str | None:
        """Stop one process; return its name if it had to be killed."""
        assert child.keeper is not None
        if child.process is not None:
            _send(child.process, child.stopped_by)
        done, _ = await asyncio.wait([child.keeper], timeout=seconds)
        if done:
            return None
        if child.process is not None:
            _send(child.process, signal.SIGKILL)
            await asyncio.wait([child.keeper], timeout=1.0)
        return child.name


def describe(status: int) -> str:
    """Say how a process ended: its exit code, or the signal where that is negative."""
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _send(process: Launched, number: signal.Signals) -> None:
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        # It ended in this very moment, which is what was wanted; its keeper hears of it.
        return
