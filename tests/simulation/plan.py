"""The plan of what goes wrong, and when: drawn from a seed, so that it can be read, replayed and shrunk."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.simulation.conditions import Fault
from tests.simulation.network import CUSTOMER

PARTICIPANTS: Final = ("order", "stock", "payment")
TOPICS: Final = ("stock-adjustment", "payment-capture", "order-confirmation", "tcc-outcomes")
LINKS: Final = (
    (CUSTOMER, "order"),
    ("order", "coordinator"),
    *(("coordinator", name) for name in PARTICIPANTS),
    *((name, "coordinator") for name in ("stock", "payment")),
)
ON_LINKS: Final = (Fault.DROP, Fault.LOSE, Fault.DELAY, Fault.DUPLICATE, Fault.REORDER, Fault.PARTITION)
ON_DISKS: Final = (Fault.LOCKED, Fault.FAILING, Fault.DISK_FULL)
ONCE: Final = (0, 1, 1, 2)
OFTEN: Final = dict.fromkeys(ON_LINKS, (1, 2, 3))
LEASES: Final = 3 * 5.0
"""Seconds of three leases of the coordinator's driver."""
SKEW: Final = 600_000
AT_SERVER: Final = "database"
"""Whose clock is wrong, if not that of a machine: the database's, by which all instances of a program go."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that goes wrong. at, seconds: when it begins and how long it lasts; subject: whom it strikes;
    other: the far end of a link; amount: what else the fault needs (a chance, a skew in ms, a choice)."""

    fault: Fault
    at: float
    seconds: float = 0.0
    subject: str = ""
    other: str = ""
    amount: float = 1.0

    def __str__(self) -> str:
        whom = f"{self.subject}->{self.other}" if self.other else self.subject or "broker"
        return f"at {self.at:.2f} s for {self.seconds:.2f} s: {self.fault} ({whom}, {self.amount:.2g})"


def draw(randomness: random.Random, span: float, hosts: Sequence[str]) -> tuple[Trouble, ...]:
    """Draw a plan for so many seconds: each fault about once, some more often. hosts: whom it may strike."""
    drawn = [fault for fault in Fault for _ in range(randomness.choice(OFTEN.get(fault, ONCE)))]
    randomness.shuffle(drawn)
    return tuple(
        sorted((_trouble(fault, randomness, span, hosts) for fault in drawn), key=lambda one: one.at)
    )


def _trouble(fault: Fault, randomness: random.Random, span: float, hosts: Sequence[str]) -> Trouble:
    at, seconds = randomness.uniform(0.0, span), randomness.uniform(1.0, span / 4)
    whom, amount = randomness.choice(hosts), randomness.random()
    if fault in ON_LINKS:
        source, target = randomness.choice(LINKS)
        if fault is Fault.PARTITION:
            there, back = (source, target), (target, source)
            return Trouble(fault, at, seconds, *randomness.choice((there, back)))
        return Trouble(fault, at, seconds, source, target, randomness.choice((0.2, 0.5, 1.0)))
    if fault in ON_DISKS:
        seconds = min(seconds, 5.0)
    seconds = {Fault.CRASH: min(seconds, 10.0), Fault.PAUSE: LEASES}.get(fault, seconds)
    if fault is Fault.SKEW:
        amount = SKEW if amount < 0.5 else -SKEW
        return Trouble(fault, at, seconds, whom, randomness.choice(("", AT_SERVER)), amount)
    if fault is Fault.POISON:
        whom = randomness.choice(TOPICS)
    if fault in (Fault.BROKER_DOWN, Fault.BROKER_EMPTY, Fault.LATE_TRY):
        whom = ""
    return Trouble(fault, at, seconds, whom, "", amount)
