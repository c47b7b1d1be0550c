"""What the world is like just now: which links are cut, who is slow, whose database fails, and how often each
of these did something to somebody."""

import random
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Fault(StrEnum):
    """Everything that may go wrong in a simulated system."""

    DROP = "request dropped"
    LOSE = "answer lost"
    DELAY = "delay beyond the expiry"
    DUPLICATE = "duplicate"
    REORDER = "reordering"
    PARTITION = "asymmetric partition"
    CRASH = "crash and restart"
    PAUSE = "pause of three leases"
    SKEW = "clock skew of ten minutes"
    SLOW = "slow participant"
    BURST = "burst of 5xx"
    BROKER_DOWN = "broker down"
    BROKER_EMPTY = "broker back empty"
    PRODUCED_UNTOLD = "produced, not acknowledged"
    LOCKED = "database locked"
    FAILING = "database failing"
    DISK_FULL = "disk full"
    POISON = "poison message"
    LATE_TRY = "late Try"


@dataclass(slots=True)
class Window:
    """A fault that is on for a while. subject: whom it concerns; other: the far end of a link;
    chance: how likely it strikes each time."""

    fault: Fault
    subject: str
    other: str
    chance: float


@dataclass
class Conditions:
    """The faults that are on. struck: how often each did something; deaf: the broker takes records and
    hands none out."""

    randomness: random.Random
    windows: list[Window] = field(default_factory=list)
    struck: Counter[Fault] = field(default_factory=Counter)
    deaf: bool = False

    def strikes(self, fault: Fault, subject: str, other: str = "") -> bool:
        """Say whether a fault strikes a program, or the link from it to another, and count it."""
        for window in self.windows:
            hit = window.fault is fault and window.subject == subject and window.other in ("", other)
            if hit and self.randomness.random() < window.chance:
                self.struck[fault] += 1
                return True
        return False
