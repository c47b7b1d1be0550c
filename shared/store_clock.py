"""The clock of a program that shares its database: its machine's own, set right by the store's.

What one instance writes as due, another reads. By clocks that are minutes apart a lease would last as much
longer, or would be none, so all who share a store go by its time. Nothing depends on it but how long things
take: what makes them safe is a compare-and-set, whatever any clock says.
"""

import logging
from typing import Final

from shared.clock import Clock, Millis

UNCERTAIN_MS: Final[Millis] = 1_000
"""A comparison that took longer than this tells too little."""
WORTH_SAYING_MS: Final[Millis] = 1_000

_log = logging.getLogger(__name__)


class StoreClock:
    """A Clock. own: the machine's, which may be wrong."""

    def __init__(self, own: Clock) -> None:
        self._own = own
        self._ahead: Millis = 0
        self._compared = False

    def now(self) -> Millis:
        return self._own.now() + self._ahead

    @property
    def ahead(self) -> Millis:
        """How far the store is ahead of this machine, in ms."""
        return self._ahead

    def own(self) -> Millis:
        """Return what the machine's own clock says."""
        return self._own.now()

    def compare(self, asked: Millis, told: Millis, heard: Millis) -> None:
        """Take in that the store said `told` at some moment between two of the machine's own instants.

        What is known is kept as long as it may still be true, so that time doesn't waver.
        """
        least, most = told - heard, told - asked
        if self._compared and (least <= self._ahead <= most or most - least > UNCERTAIN_MS):
            return
        ahead = (least + most) // 2
        if abs(ahead - self._ahead) >= WORTH_SAYING_MS:
            _log.warning("This machine's clock is %d ms behind the store's (negative: ahead of it).", ahead)
        self._ahead, self._compared = ahead, True
