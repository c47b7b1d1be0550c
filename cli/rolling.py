"""A rolling restart: one process after the other, the next only once the last is ready again.

`up` makes it when it gets SIGUSR1, and notes in run.json how far it is; `handfast restart` sends the signal
and reads the notes.
"""

import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from cli.outcome import CommandError

SIGNAL: Final = signal.SIGUSR1

Restart = Callable[[str], Awaitable[None]]
"""Ends a process in its own way and starts it anew; returns once it runs, by name."""
Ready = Callable[[str], Awaitable[None]]
"""Waits until a process is ready; raises CommandError where it doesn't get there."""


@dataclass(slots=True)
class Progress:
    """How far the latest rolling restart is. number: counts them; problem: why it ended early."""

    number: int = 0
    done: int = 0
    total: int = 0
    running: bool = False
    problem: str | None = None

    def note(self) -> dict[str, Any]:
        """Return it as run.json has it."""
        return asdict(self)


def progress_of(run: Mapping[str, Any]) -> Progress:
    """Return what run.json says of the latest rolling restart."""
    return Progress(**run["restart"])


async def restart_each(
    names: list[str], progress: Progress, restart: Restart, ready: Ready, changed: Callable[[], None]
) -> None:
    """Restart processes in that order; end early where one doesn't get ready: the others serve on as before.

    changed: is called whenever the progress did.
    """
    progress.number += 1
    progress.done, progress.total, progress.running, progress.problem = 0, len(names), True, None
    changed()
    try:
        for name in names:
            await restart(name)
            await ready(name)
            progress.done += 1
            changed()
    except CommandError as failure:
        progress.problem = str(failure)
    finally:
        progress.running = False
        changed()
