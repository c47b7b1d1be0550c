"""What goes wrong on real processes, and when: drawn from a seed, so that it can be read and drawn again.

The plan is the same for the same seed; how far the processes have come when a trouble strikes is not.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from cli.programs import BROKER
from shared.settings import PORTS

T = TypeVar("T")


class Kind(StrEnum):
    """What can go wrong."""

    KILL = "kill"  # SIGKILL; the supervisor starts it again, the broker without its records
    RESTART = "restart"  # SIGTERM in the middle of the work
    BLACKOUT = "blackout"  # SIGKILL to all at once
    PAUSE = "pause"  # SIGSTOP, past every lease, then SIGCONT
    DROP = "drop"  # connections are reset as soon as somebody uses them
    CUT = "cut"  # connections are reset after so many bytes of the one or the other direction
    DELAY = "delay"  # bytes arrive late, by up to more than a Try may take
    HOLD = "hold"  # connections stay open and silent; what was sent arrives when nobody waits any more


ALL: Final = "all"
CUSTOMERS: Final = "customers"
"""The link from the customers to the order service."""
LINKS: Final = (CUSTOMERS, *PORTS)
"""Whatever has a proxy before it: the customers' front door, and each program where others call it."""
DATABASE: Final = "database"
"""The server on which all programs have their data, and the link to it, where there is one."""


def names_of(instances: int) -> tuple[str, ...]:
    """Return the names of a stack's programs, so many instances of each."""
    if instances == 1:
        return tuple(PORTS)
    return tuple(f"{name}-{number}" for name in PORTS for number in range(1, instances + 1))


def subjects_of(*, on_server: bool = False, instances: int = 1) -> dict[Kind, tuple[str, ...]]:
    """Return whom each kind may strike. on_server: there is a server with the data, and a link to it."""
    programs = names_of(instances)
    server = (DATABASE,) if on_server else ()
    processes, links = (*programs, BROKER, *server), (*LINKS, *server)
    return {
        Kind.KILL: processes,
        Kind.RESTART: (*programs, *server),
        Kind.BLACKOUT: (ALL,),
        Kind.PAUSE: processes,
        **dict.fromkeys((Kind.DROP, Kind.CUT, Kind.DELAY, Kind.HOLD), links),
    }


SUBJECTS: Final = subjects_of()
ON_LINKS: Final = frozenset({Kind.DROP, Kind.CUT, Kind.DELAY, Kind.HOLD})
DEADLY: Final = frozenset({Kind.KILL, Kind.RESTART, Kind.BLACKOUT})
DRAWS: Final = 100
"""So often the time of a trouble is drawn until it is given up to find a better one."""
ROUND: Final = (Kind.KILL, *Kind)
"""Every kind comes once, kills twice, before any comes again."""


@dataclass(frozen=True, slots=True)
class Form:
    """How much goes wrong. seconds: the whole; every: from one trouble to the next, on the average; pause and
    window: the least and the most seconds that a pause, or a trouble on a link, lasts."""

    seconds: float
    every: float
    pause: tuple[float, float]
    window: tuple[float, float]

    @property
    def troubles(self) -> int:
        return max(len(ROUND), round(self.seconds / self.every))


def long_form(minutes: float) -> Form:
    """Return the form of `make chaos`: pauses outlast three of the driver's leases, of 5 s each."""
    return Form(seconds=60.0 * minutes, every=4.0, pause=(15.5, 20.0), window=(2.0, 8.0))


SHORT: Final = Form(seconds=16.0, every=1.2, pause=(5.5, 6.5), window=(1.5, 3.5))
"""Pauses outlast one lease."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that goes wrong. at, seconds: when it begins and how long it lasts (0: it is over at once);
    subject: a process, a link or ALL."""

    kind: Kind
    subject: str
    at: float
    seconds: float = 0.0

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"at {self.at:.1f} s: {self.kind} {self.subject}{lasting}"


def draw(seed: int, form: Form, whom: Mapping[Kind, Sequence[str]] = SUBJECTS) -> tuple[Trouble, ...]:
    """Draw a plan, sorted by time; every trouble is over when the form's seconds are."""
    randomness = random.Random(f"{seed}/plan")
    kinds = _in_rounds(ROUND, randomness)
    subjects = {kind: _in_rounds(whom[kind], randomness) for kind in Kind}
    drawn = sorted(next(kinds) for _ in range(form.troubles))
    pauses = [_trouble(kind, next(subjects[kind]), form, randomness) for kind in drawn if kind is Kind.PAUSE]
    others = [
        _beside(pauses, kind, next(subjects[kind]), form, randomness)
        for kind in drawn
        if kind is not Kind.PAUSE
    ]
    return tuple(sorted((*pauses, *others), key=lambda one: one.at))


def _beside(
    pauses: Sequence[Trouble], kind: Kind, subject: str, form: Form, randomness: random.Random
) -> Trouble:
    """Draw a trouble that ends no pause, where there is room for it: who is killed isn't paused any more."""
    for _ in range(DRAWS):
        trouble = _trouble(kind, subject, form, randomness)
        if not any(_ends(trouble, pause) for pause in pauses):
            break
    return trouble


def _ends(trouble: Trouble, pause: Trouble) -> bool:
    meant = trouble.kind in DEADLY and trouble.subject in (pause.subject, ALL)
    return meant and pause.at <= trouble.at <= pause.at + pause.seconds


def _trouble(kind: Kind, subject: str, form: Form, randomness: random.Random) -> Trouble:
    seconds = 0.0
    if kind is Kind.PAUSE:
        seconds = randomness.uniform(*form.pause)
    elif kind in ON_LINKS:
        seconds = randomness.uniform(*form.window)
    return Trouble(kind, subject, randomness.uniform(0.0, form.seconds - seconds), seconds)


def _in_rounds(choices: Sequence[T], randomness: random.Random) -> Iterator[T]:
    """Yield all of them in some order, and again in another, for ever."""
    while True:
        yield from randomness.sample(choices, len(choices))
