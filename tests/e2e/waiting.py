"""Waiting for what comes true in other processes, which ring no bell."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    """Look again and again until what is seen is true; return it. Fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)
    return seen


async def until(look: Callable[[], Awaitable[bool] | bool], what: str, seconds: float = 60.0) -> None:
    """Do the same without holding up the event loop."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen if isinstance(seen, bool) else await seen:
            return
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        await asyncio.sleep(0.05)


def freeze(pid: int) -> None:
    """SIGSTOP a process and wait until it stands still: its threads run on until one of them sees it."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: _states(pid) == {"T"}, f"{pid} stands still")


def _states(pid: int) -> set[str]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return {(thread / "stat").read_text().rpartition(") ")[2][0] for thread in threads}
