"""How a program comes to its end while others go on: what follows the signal, step by step.

    begin    it says that it is not ready, takes up no work that others could do, and serves on
    hurry    it takes no new connection; whoever waits for a change is answered with what there is
    (end)    what still runs is cut off, and the application stops

The server takes the steps (shared.http.server); whoever has a part in one says so beforehand.
"""

from collections.abc import Callable
from typing import Final

DRAINING: Final = "It is draining: it answers what still comes, and is about to stop."

Step = Callable[[], object]


class Drain:
    """The steps of one program's end. Each is taken once, in the event loop, and never taken back."""

    def __init__(self) -> None:
        self.begun = False
        self.hurried = False
        self._at_begin: list[Step] = []
        self._at_hurry: list[Step] = []

    def at_begin(self, step: Step) -> None:
        """Have something done as soon as the end begins; it waits for nothing."""
        self._at_begin.append(step)

    def at_hurry(self, step: Step) -> None:
        """Have something done so that requests under way end soon; it waits for nothing."""
        self._at_hurry.append(step)

    def begin(self) -> None:
        if not self.begun:
            self.begun = True
            _take(self._at_begin)

    def hurry(self) -> None:
        """Hurry, after beginning where that was left out."""
        self.begin()
        if not self.hurried:
            self.hurried = True
            _take(self._at_hurry)

    def problem(self) -> str | None:
        """Return why the program is not ready any more, None while it doesn't drain."""
        return DRAINING if self.begun else None


def _take(steps: list[Step]) -> None:
    for step in steps:
        step()
