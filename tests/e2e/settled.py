"""Waiting until nothing is under way in a stack any more."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

from tests.collector import COLLECTIONS, Read

LOOK: Final = 0.1
"""Seconds between two looks."""


async def until_settled(read: Read, seconds: float) -> None:
    """Return once everything is final; raise AssertionError with what isn't after so many seconds."""
    end = time.monotonic() + seconds
    while left := [found async for found in _under_way(read)]:
        assert time.monotonic() < end, f"after {seconds:.0f} s still under way:\n" + "\n".join(left)
        await asyncio.sleep(LOOK)


async def _under_way(read: Read) -> AsyncIterator[str]:
    """Say what isn't final, a few of each kind."""
    lists = [("order", f"/orders?status={name}") for name in ("PENDING", "HELD", "CONFIRMING", "CANCELLING")]
    for state in ("TRYING", "TRIED", "CONFIRMING", "CANCELLING"):
        lists.append(("coordinator", f"/transactions?state={state}"))
        lists += [(name, f"{path}?state={state}") for name, path in COLLECTIONS.items()]
    for program, path in lists:
        for found in (await read(program, f"{path}&limit=3"))["items"]:
            yield f"{program}{path}: {found}"
