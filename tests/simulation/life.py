"""A program's lives in the simulator: it is started, paused, crashed and started again, in one event loop.

A task belongs to the life in whose context it was made. A crash ends a life at whatever await it is in: from
then on none of its tasks has any effect, because everything that a program does outwards passes its gate.
"""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_living: contextvars.ContextVar["Life | None"] = contextvars.ContextVar("life", default=None)


class Life:
    """One life of a program, from its start to its stop or crash."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.alive = True
        self._context = contextvars.copy_context()
        self._context.run(_living.set, self)
        self._tasks: dict[asyncio.Task[Any], None] = {}  # In the order of their making: a set has none.
        self._resumed: asyncio.Event | None = None

    async def gate(self) -> None:
        """Let the program's doing through; hold it while the program is paused, end it once it is dead."""
        while self.alive and self._resumed is not None:
            await self._resumed.wait()
        if not self.alive:
            raise asyncio.CancelledError

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run a coroutine as a part of this life."""
        return asyncio.get_running_loop().create_task(work, context=self._context.copy())

    def pause(self) -> None:
        if self._resumed is None:
            self._resumed = asyncio.Event()

    def resume(self) -> None:
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    @property
    def paused(self) -> bool:
        return self._resumed is not None

    def crash(self) -> None:
        """End it, whatever it is doing. What its tasks still do on their way out has no effect."""
        self.alive = False
        self.resume()
        for task in list(self._tasks):
            task.cancel()

    def adopt(self, task: "asyncio.Task[Any]") -> None:
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))


def watch_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Have every task of a loop belong to the life in whose context it is made."""

    def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
        context: contextvars.Context | None = options.get("context")
        life = _living.get() if context is None else context.get(_living)
        if life is not None:
            life.adopt(task)
        return task

    loop.set_task_factory(make)
