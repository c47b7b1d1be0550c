"""Time as a parameter: wall-clock instants in milliseconds since the epoch, UTC.

Instants are plain integers inside (they sort, subtract and index the same in every database) and ISO 8601
with a zone outside. Waiting is asyncio's business: a test that wants virtual time runs a virtual event loop.
"""

import functools
import time
from datetime import UTC, datetime
from typing import Protocol

Millis = int


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
    """Read an ISO 8601 instant; raise ValueError where it is malformed or names no zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone; write it as UTC, for example 2026-11-21T09:30:00Z")
    return round(moment.timestamp() * 1000)
