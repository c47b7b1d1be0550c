"""Pieces of work that wait to be written, and how those who wait for them are answered by every store."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from shared.database.port import Work

MOST_WAITING: Final = 10_000
"""More than so many writes (or reads) that wait are turned away."""

Job = tuple[Work[Any], "asyncio.Future[Any]"]
Result = tuple["asyncio.Future[Any]", Any, BaseException | None]


def answer(results: Iterable[Result]) -> None:
    """Tell each of those who wait what became of his work; in the loop that they wait in."""
    for done, result, error in results:
        if done.done():  # Its caller was cancelled: the write stands, nobody waits for it.
            continue
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)
