"""When a failed delivery is attempted again: `fixed:1s,3` or `exponential:1s,2.0,10s,6`, `+jitter` on either.

The waiting times come from tenacity's strategies; the randomness of the jitter is a parameter.
"""

import random
import re
from dataclasses import dataclass
from typing import Any, Final

from tenacity import RetryCallState, wait_exponential, wait_fixed
from tenacity.wait import wait_base

MOST_RETRIES: Final = 1_000
LONGEST_SECONDS: Final = 3_600.0
HOW_TO_WRITE_IT: Final = (
    "write fixed:<wait>,<retries> or exponential:<initial>,<multiplier>,<cap>,<retries>, +jitter at the end "
    "if wanted, durations as 100ms, 1s or 2m; for example fixed:1s,3"
)


@dataclass(frozen=True, slots=True)
class Retry:
    """A policy of retries. text: as it was written; retries: how many follow the first delivery."""

    text: str
    retries: int
    wait_strategy: wait_base
    jitter: bool = False

    @classmethod
    def parse(cls, text: str) -> "Retry":
        """Read a policy; raise ValueError, which says how to write one, where it is malformed."""
        body, plus, suffix = text.strip().partition("+")
        if plus and suffix != "jitter":
            raise ValueError(f"{text!r} ends in +{suffix}: {HOW_TO_WRITE_IT}")
        kind, _, arguments = body.partition(":")
        parts = [part.strip() for part in arguments.split(",")]
        if kind == "fixed" and len(parts) == 2:
            strategy: wait_base = wait_fixed(_seconds(parts[0], text))
        elif kind == "exponential" and len(parts) == 4:
            strategy = _exponential(parts, text)
        else:
            raise ValueError(f"{text!r} is no retry policy: {HOW_TO_WRITE_IT}")
        return cls(text.strip(), _count(parts[-1], text), strategy, bool(plus))

    @property
    def deliveries(self) -> int:
        """How often a record is delivered before it becomes a dead letter."""
        return self.retries + 1

    def wait(self, attempt: int, randomness: random.Random) -> float:
        """Return the seconds to wait after failed delivery number `attempt` (the first is 1).

        With jitter it lies between half of the strategy's wait and the whole.
        """
        seconds = float(self.wait_strategy(_call_state(attempt)))
        return seconds * randomness.uniform(0.5, 1.0) if self.jitter else seconds


def _exponential(parts: list[str], text: str) -> wait_base:
    initial, cap = _seconds(parts[0], text), _seconds(parts[2], text)
    try:
        multiplier = float(parts[1])
    except ValueError:
        multiplier = 0.0
    if not 1.0 <= multiplier <= 100.0:
        raise ValueError(f"{text!r}: the multiplier must lie between 1 and 100; {HOW_TO_WRITE_IT}")
    if cap < initial:
        raise ValueError(f"{text!r}: the cap is below the initial wait; {HOW_TO_WRITE_IT}")
    return wait_exponential(multiplier=initial, exp_base=multiplier, max=cap)


_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}


def _seconds(duration: str, text: str) -> float:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m)", duration)
    if match is None:
        raise ValueError(f"{text!r}: {duration!r} is no duration; {HOW_TO_WRITE_IT}")
    seconds = float(match[1]) * _UNITS[match[2]]
    if not 0 < seconds <= LONGEST_SECONDS:
        raise ValueError(f"{text!r}: a wait must be more than nothing and at most 60m; {HOW_TO_WRITE_IT}")
    return seconds


def _count(retries: str, text: str) -> int:
    if re.fullmatch(r"\d{1,6}", retries) is None or int(retries) > MOST_RETRIES:
        raise ValueError(f"{text!r}: retries must be 0 to {MOST_RETRIES}; {HOW_TO_WRITE_IT}")
    return int(retries)


def _call_state(attempt: int) -> RetryCallState:
    # The strategies look at the attempt's number only; nothing is called through tenacity here.
    nothing: Any = None
    state = RetryCallState(retry_object=nothing, fn=None, args=(), kwargs={})
    state.attempt_number = attempt
    return state
