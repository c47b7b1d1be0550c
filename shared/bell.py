"""A bell: how a request waits for a state that something else brings about, in this process or another.

Whoever changes a state rings its key; whoever waits looks again when it rings, and now and then besides,
because the change may have come from elsewhere (another instance whose ring was not heard, or came before a
crash).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class Bell:
    """One bell for many keys.

    poll: the longest time between two looks, in seconds; tell: has a ring heard by other instances.
    """

    def __init__(self, poll: float = 0.5, tell: Callable[[str], None] | None = None) -> None:
        self._poll = poll
        self._tell = tell
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._hurried = False

    def ring(self, key: str) -> None:
        """Wake whoever waits for key, wherever. Call it after the commit, in the event loop."""
        self.heard(key)
        if self._tell is not None:
            self._tell(key)

    def heard(self, key: str) -> None:
        """Wake whoever waits for key here: another instance has rung it."""
        for rung in self._waiting.pop(key, ()):
            if not rung.done():
                rung.set_result(None)

    def hurry(self) -> None:
        """Let nobody wait any more, now or later: everybody looks once more and goes on."""
        self._hurried = True
        for key in list(self._waiting):
            self.heard(key)

    async def wait(self, key: str, until: Callable[[], Awaitable[T | None]], seconds: float) -> T | None:
        """Return the first result of `until` that is not None, or None once `seconds` have passed.

        It looks at least once, also when `seconds` is 0, and once more at the end (also of a hurry).
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            # Listening starts before the look, so that a ring in between is not missed.
            rung: asyncio.Future[None] = loop.create_future()
            self._waiting.setdefault(key, set()).add(rung)
            last = self._hurried
            try:
                found = await until()
                left = end - loop.time()
                if found is not None or left <= 0 or last:
                    return found
                await asyncio.wait((rung,), timeout=min(left, self._poll))
            finally:
                self._leave(key, rung)

    def _leave(self, key: str, rung: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.discard(rung)
            if not waiting:
                del self._waiting[key]
