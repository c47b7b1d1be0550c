"""A circuit breaker: it keeps calls from a participant that answers nobody, and finds out when it does again.

    closed   calls go; so many in a row without an answer, each for another branch, open it
    open     none goes, but for one after each pause, the probe; an answer closes it, none doubles the pause

It delays and decides nothing: what is not called waits in the log, and is taken up once it is closed. Pure:
instants are seconds on whatever clock its owner keeps.
"""

from enum import Enum
from typing import Final

UNANSWERED: Final = 5
"""Branches in a row whose calls had no answer, after which none goes; one alone may be at fault itself."""
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0
"""Seconds; what waits for a participant is taken up so soon after it answers again, and one call later."""


class Pass(Enum):
    """What a call goes by; it is to be given back with how the call ended."""

    CALL = "call"
    PROBE = "probe"


class Breaker:
    """The breaker of one participant."""

    def __init__(self) -> None:
        self._unanswered: set[str] = set()
        self._pause = FIRST_PAUSE
        self._next_probe: float | None = None  # None while it is closed.
        self._probing = False

    @property
    def open(self) -> bool:
        return self._next_probe is not None

    def admits(self, now: float) -> bool:
        """Say whether a call may go now."""
        return self._next_probe is None or (not self._probing and now >= self._next_probe)

    def admit(self, now: float) -> Pass | None:
        """Let a call go, or return None."""
        if self._next_probe is None:
            return Pass.CALL
        if not self.admits(now):
            return None
        self._probing = True
        return Pass.PROBE

    def answered(self) -> bool:
        """Take in that a call was answered, whatever the answer; return whether that closed it."""
        closed = self.open
        self._unanswered.clear()
        self._pause = FIRST_PAUSE
        self._next_probe = None
        self._probing = False
        return closed

    def unanswered(self, passed: Pass, branch_id: str, now: float) -> None:
        """Take in that a call got no answer."""
        if passed is Pass.PROBE and self._probing:
            self._probing = False
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._next_probe = now + self._pause
        elif self._next_probe is None:
            self._unanswered.add(branch_id)
            if len(self._unanswered) >= UNANSWERED:
                self._next_probe = now + self._pause

    def abandoned(self, passed: Pass) -> None:
        """Take in that a call was given up before its answer was due: it tells nothing."""
        if passed is Pass.PROBE:
            self._probing = False
