"""A clock that is set by hand."""

from dataclasses import dataclass

from shared.clock import Millis


@dataclass
class HandClock:
    """A clock that moves when it is told to."""

    instant: Millis = 1_780_000_000_000

    def now(self) -> Millis:
        return self.instant

    def pass_seconds(self, seconds: float) -> None:
        self.instant += int(seconds * 1_000)
