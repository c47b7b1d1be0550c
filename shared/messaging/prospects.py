"""Prospects: what a letter's record stands for by now, asked before it is published again or thrown away."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from shared.messaging.letters import DeadLetter


class Prospect(StrEnum):
    """What is known of that which a letter's record would do."""

    DECIDED = "decided"  # it is decided and not yet applied: only the letter, or a repeat, will make it true
    APPLIED = "applied"  # it is done already
    CANCELLED = "cancelled"  # the decision was the other one
    UNDECIDED = "undecided"  # nothing is decided yet
    UNBOUND = "unbound"  # no decision hangs on this record
    UNKNOWN = "unknown"  # nobody here can tell


class Prospects(Protocol):
    """Whoever can tell what a letter stands for."""

    async def of(self, letter: DeadLetter) -> Prospect:
        """Return a letter's prospect; raise Transient where nobody can tell now."""
        ...


class Unbound:
    """The prospects of a topic whose sender repeats what was not taken in: nothing is lost with a record."""

    async def of(self, _letter: DeadLetter) -> Prospect:
        return Prospect.UNBOUND


class ByTopic:
    """The prospects of several topics; of any other nobody can tell."""

    def __init__(self, topics: Mapping[str, Prospects]) -> None:
        self._topics = topics

    async def of(self, letter: DeadLetter) -> Prospect:
        found = self._topics.get(letter.topic)
        return Prospect.UNKNOWN if found is None else await found.of(letter)
