"""How far apart rounds of work begin: at once while it is quiet, the further apart the busier it is.

A round costs much the same whether it moves one record or fifty, here and at the broker. So a lone record
goes at once, and a steady stream in few full rounds: with 32 orders in flight that saves about a fifth of the
broker's CPU.

What tells the two apart is a bucket that records fill and time empties: a handful of records at a time
hardly fills it, a stream of more than QUIET_RATE does. Of several instances each has a part of the stream,
and a round costs it no less for that: it goes at the pace of the whole.
"""

import asyncio
from collections.abc import Callable
from typing import Final

SHORTEST_SECONDS: Final = 0.005
LONGEST_SECONDS: Final = 0.05
QUIET_RATE: Final = 300.0
"""Records per second beyond which there is a stream."""
BUCKET: Final = 100.0
"""The records that fill the bucket; the next round then begins LONGEST_SECONDS after the last."""


class Pace:
    """The pace of one loop's rounds. sharers: tells how many instances its stream is shared by."""

    def __init__(self, sharers: Callable[[], int] = lambda: 1) -> None:
        self._sharers = sharers
        self._level = 0.0
        self._began = 0.0
        self._next = 0.0

    async def wait(self) -> None:
        """Wait until the next round may begin."""
        seconds = self._next - asyncio.get_running_loop().time()
        if seconds > 0:
            await asyncio.sleep(seconds)

    def found(self, records: int, began: float) -> None:
        """Note how many records the round found that began then (the loop's time)."""
        left = max(self._level - (began - self._began) * QUIET_RATE, 0.0)
        self._level = min(left + records * self._sharers(), BUCKET)
        self._began = began
        # Squared, so that what arrives together while it is quiet makes nobody wait.
        share = (self._level / BUCKET) ** 2
        self._next = began + SHORTEST_SECONDS + (LONGEST_SECONDS - SHORTEST_SECONDS) * share
