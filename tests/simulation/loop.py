"""An event loop on virtual time: nothing waits, the clock jumps to whatever is due next.

asyncio takes its time from the loop, so everything that sleeps, times out or polls runs unchanged and an hour
passes in the time it takes to compute it. Only what needs no socket and no thread can run here.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from shared.clock import Millis

T = TypeVar("T")

EPOCH: Millis = 1_750_000_000_000


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time stands still while there is work, and otherwise jumps to the next timer."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        self._now += seconds


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits for something that can't happen any more: a deadlock")
        if timeout > 0:
            self._loop.jump(timeout)
        return super().select(0)


class VirtualClock:
    """A program's wall clock on a virtual loop. skew: milliseconds by which it is ahead of true time;
    passed: milliseconds of true time in which nothing happened."""

    def __init__(self, loop: asyncio.AbstractEventLoop, skew: Millis = 0) -> None:
        self._loop = loop
        self.skew = skew
        self.passed: Millis = 0

    def now(self) -> Millis:
        return EPOCH + round(self._loop.time() * 1000) + self.passed + self.skew


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a virtual loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
