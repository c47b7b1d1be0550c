"""Time as a parameter: wall-clock instants in milliseconds since the epoch, UTC.

Instants are plain integers inside (they sort, subtract and index the same in every database) and ISO 8601
with a zone outside. Waiting is asyncio's business: a test that wants virtual time runs a virtual event loop.
"""

import functools
import time
from datetime import UTC, datetime
from typing import Final, Protocol

Millis = int

EARLIEST: Final[Millis] = -62_135_596_800_000
LATEST: Final[Millis] = 253_402_300_799_999
"""The first and the last instant of the years 1 to 9999 UTC: what ISO 8601 writes in four digits."""


class Clock(Protocol):
    """Where "now" comes from."""

    def now(self) -> Millis:
        """Return the current instant in milliseconds since the epoch."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> Millis:
        return time.time_ns() // 1_000_000


def iso(instant: Millis) -> str:
    """Write an instant as ISO 8601 in UTC with millisecond precision: `2026-11-21T09:30:00.000Z`."""
    seconds, millis = divmod(instant, 1000)
    return f"{_to_the_second(seconds)}.{millis:03d}Z"


@functools.lru_cache(maxsize=256)
def _to_the_second(seconds: int) -> str:
    # Most instants that are written fall into the same few seconds.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def from_iso(text: str) -> Millis:
    """Read an ISO 8601 instant; raise ValueError where it is malformed, names no zone or can't be written."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone; write it as UTC, for example 2026-11-21T09:30:00Z")
    instant = round(moment.timestamp() * 1000)
    if not EARLIEST <= instant <= LATEST:
        # Its zone or its fraction of a second puts it into a year that iso can't write.
        raise ValueError(f"{text!r} is in no year from 1 to 9999 UTC")
    return instant
