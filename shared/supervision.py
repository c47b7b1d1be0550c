"""Supervision: a program's endless loops, kept running.

A loop that dies is logged, shown by the program's health, and started again after a pause that doubles; one
that has run for a while since starts with a short pause again.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, Final

from shared.health import Health

Loop = Callable[[], Coroutine[Any, Any, None]]

_log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
STEADY_SECONDS: Final = 60.0
"""Seconds. A loop that has run for so long is no longer held to its earlier deaths."""


@contextlib.asynccontextmanager
async def supervised(loops: Mapping[str, Loop], health: Health) -> AsyncIterator[asyncio.Task[None]]:
    """Run the loops for as long as the block lasts; they are cancelled and have ended when it is left.

    Whoever wants them to end earlier cancels the task that it gives.
    """
    running = asyncio.create_task(run_all(loops, health), name="supervision")
    try:
        yield running
    finally:
        running.cancel()
        await asyncio.wait((running,))


async def run_all(loops: Mapping[str, Loop], health: Health) -> None:
    """Run the loops, by name, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for name, loop in loops.items():
            group.create_task(_Supervised(name, loop, health).run(), name=name)


class _Supervised:
    def __init__(self, name: str, loop: Loop, health: Health) -> None:
        self._name = name
        self._loop = loop
        self._problem: str | None = None
        health.add(f"{name} loop", lambda: self._problem)

    async def run(self) -> None:
        clock = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while True:
            started = clock.time()
            died = await self._run_once()
            if clock.time() - started >= STEADY_SECONDS:
                pause = FIRST_PAUSE
            self._problem = f"It stopped ({died}) and starts again in {pause:g} s."
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            self._problem = None

    async def _run_once(self) -> str:
        """Run the loop until it dies; return of what."""
        try:
            await self._loop()
        except Exception as error:  # noqa: BLE001 - whatever it died of, it starts again
            _log.exception("The loop %s died.", self._name)
            return type(error).__name__
        _log.error("The loop %s ended, which it never should.", self._name)
        return "it ended"
