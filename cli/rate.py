"""A rate that is kept: so many letters a second and never more, however late their answers come."""

import math
from collections import deque
from typing import Final

SPREAD_SECONDS: Final = 0.1
"""A rate's letters are spread over its seconds: a request has what is due in so long a time, or one."""
CATCH_UP_SECONDS: Final = 0.1
"""What a rate's delays may be made up for by: so much of it goes at once, and no more."""


class Rate:
    """Says how many letters may be asked for in one request. Instants are seconds of a monotonic clock.

    per_second: None: as fast as they go; most: letters of one request.

    When a letter is published isn't known, only that it is between its request and the answer. So it counts
    from the one until a second after the other, and no second can have more than its share.
    """

    def __init__(self, per_second: float | None, most: int, now: float) -> None:
        self._most = most
        self._per_second = self._share = math.inf
        self._span = 0.0
        if per_second is not None:
            self._most = max(1, min(most, int(per_second * SPREAD_SECONDS)))
            self._per_second = per_second
            # A rate of 2.5 is three in 1.2 seconds, and one of 0.5 is one in two.
            self._share = math.ceil(per_second)
            self._span = self._share / per_second
        self._next_at = now
        self._in_flight = 0
        self._answered: deque[tuple[float, int]] = deque()

    def due(self, now: float) -> int:
        """Return how many letters a request may have now: none where it is too early."""
        while self._answered and self._answered[0][0] + self._span <= now:
            self._answered.popleft()
        if now < self._next_at:
            return 0
        counting = self._in_flight + sum(count for _, count in self._answered)
        return int(min(self._most, self._share - counting))

    def ask(self, count: int, now: float) -> None:
        """Note a request."""
        self._next_at = max(self._next_at, now - CATCH_UP_SECONDS) + count / self._per_second
        self._in_flight += count

    def answer(self, count: int, now: float) -> None:
        """Note the answer to a request, or that none will come."""
        self._in_flight -= count
        self._answered.append((now, count))
