"""Signals for the processes of a stack: killed, restarted, stopped and continued, none of them forgotten."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cli.datadir import started_at


@dataclass(frozen=True, slots=True)
class Process:
    """One that ran a moment ago. started: in the kernel's ticks, for a pid may be given again."""

    name: str
    pid: int
    started: int | None

    def runs(self) -> bool:
        return self.started is not None and started_at(self.pid) == self.started

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; return whether it was still there to get it."""
        if not self.runs():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


class Processes:
    """Those of one stack. running: who runs now, as run.json has it (cli.datadir), by name; sent: how often
    each was told to end."""

    def __init__(self, running: Callable[[], Mapping[str, Mapping[str, Any]]]) -> None:
        self._running = running
        self._paused: Counter[Process] = Counter()
        self.sent: Counter[str] = Counter()

    def names(self) -> tuple[str, ...]:
        """Return who runs now."""
        return tuple(self._running())

    def runs(self, name: str) -> bool:
        """Return whether one is there to be stopped or killed."""
        process = self._find(name)
        return process is not None and process.runs()

    def end(self, name: str, number: signal.Signals) -> bool:
        """Kill or terminate one; return whether it ran. The supervisor starts it again."""
        process = self._find(name)
        if process is None or not process.send(number):
            return False
        self.sent[name] += 1
        return True

    @contextmanager
    def paused(self, name: str) -> Iterator[Process | None]:
        """Have one stopped for the time of a block; None: it wasn't there. Pauses may overlap."""
        process = self._find(name)
        if process is None or not process.send(signal.SIGSTOP):
            yield None
            return
        self._paused[process] += 1
        try:
            yield process
        finally:
            self._paused[process] -= 1
            if self._paused[process] == 0:
                process.send(signal.SIGCONT)

    def _find(self, name: str) -> Process | None:
        found = self._running().get(name)
        return None if found is None else Process(name, found["pid"], found["startedAt"])
