"""Asking until there is an answer: only what is unknown is asked again, for a bounded time."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from order_service.coordinator_client import CoordinatorRefused
from shared.errors import Unreachable

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0


class Patience:
    """Repeats a call to the coordinator while its outcome is unknown. call_seconds: the bound of one call."""

    def __init__(self, *, call_seconds: float, randomness: random.Random) -> None:
        self._call_seconds = call_seconds
        self._randomness = randomness

    async def insist(self, what: str, call: Callable[[float], Awaitable[T]], seconds: float) -> T | None:
        """Return the call's result, or None where there was none within `seconds` (one try at least).

        what: names the call in the log; call: takes its own bound in seconds. The pauses double from 50 ms
        to 1 s, with jitter. A request that the coordinator doesn't take is not repeated: None at once.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        pause = FIRST_PAUSE
        while True:
            try:
                return await call(min(self._call_seconds, max(end - loop.time(), FIRST_PAUSE)))
            except CoordinatorRefused as error:
                logger.warning("%s: %s", what, error.detail)
                return None
            except Unreachable as error:
                wait = pause * self._randomness.uniform(0.5, 1.0)
                pause = min(pause * 2, LONGEST_PAUSE)
                if loop.time() + wait >= end:
                    logger.warning("%s: no answer within %.1f s: %s", what, seconds, error.detail)
                    return None
                logger.debug("%s: asking again in %.2f s: %s", what, wait, error.detail)
            await asyncio.sleep(wait)
