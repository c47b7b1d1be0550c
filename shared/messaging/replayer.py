"""The batch replayer: has open letters published again on a schedule, where it is switched on.

A letter's turn comes when nothing has happened to it for the schedule's period, which doubles with each
replay up to LONGEST_WAIT periods; so one that keeps coming back costs little, until it is parked. What the
replayer knows is in the database: after a crash it goes on. Of several instances only the first replays, so
that they keep to the rate together.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from shared.clock import Clock, Millis
from shared.errors import NotFound, Transient, Unreachable
from shared.messaging.ledger import Asked
from shared.messaging.letter_office import LetterOffice
from shared.messaging.letters import DeadLetter, LetterState
from shared.messaging.replays import ReplayOutcome
from shared.messaging.selection import Place, Selection, place_of

PAGE: Final = 100
LONGEST_WAIT: Final = 32
"""Periods between two replays of one letter, at most."""
ASKED: Final = Asked("replayer", "its turn on the schedule")
UNTOLD: Final = "unreachable"
"""The outcome of a letter about which nobody could tell what was decided."""

log = logging.getLogger(__name__)


class Replayer:
    """Replays one program's letters every `period_seconds`, `rate` of them a second.

    its_turn: whether it is this instance, of several, that does so.
    """

    def __init__(
        self,
        office: LetterOffice,
        *,
        clock: Clock,
        randomness: random.Random,
        period_seconds: float,
        rate: float,
        its_turn: Callable[[], bool] = lambda: True,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._office = office
        self._clock = clock
        self._randomness = randomness
        self._period_seconds = period_seconds
        self._rate = rate
        self._its_turn = its_turn
        self._replays = Counter(
            "handfast_scheduled_replays",
            "Letters whose turn came on the replayer's schedule, by what came of it.",
            ["outcome"],
            registry=registry,
        )

    async def run(self) -> None:
        """Replay until cancelled; instances that start together drift apart."""
        while True:
            await asyncio.sleep(self._period_seconds * self._randomness.uniform(0.9, 1.1))
            try:
                await self.replay_due()
            except Transient as error:
                log.warning("Scheduled replays are put off: %s", error.detail)

    async def replay_due(self) -> int:
        """Replay what is due now; return how many records were published. Raises Transient."""
        published = 0
        after: Place | None = None
        more = True
        while more:
            letters, more = await self._office.page(Selection(state=LetterState.OPEN), after, PAGE)
            for letter in letters:
                after = place_of(letter)
                if not self._its_turn():
                    return published
                if self._is_due(letter):
                    published += await self._replay(letter)
        return published

    async def _replay(self, letter: DeadLetter) -> bool:
        try:
            outcome, _ = await self._office.replay(letter.id, ASKED, also_parked=False)
        except NotFound:
            return False  # It was purged since its page was read.
        except Unreachable as error:
            # It may be about this letter alone, so the others are asked about all the same.
            log.info("Letter %s of %s is not replayed now: %s", letter.id, letter.topic, error.detail)
            self._replays.labels(UNTOLD).inc()
            return False
        self._replays.labels(outcome.value).inc()
        if outcome is ReplayOutcome.PARKED:
            log.warning("Letter %s of %s was replayed too often: it is parked.", letter.id, letter.topic)
        if outcome is not ReplayOutcome.PUBLISHED:
            return False
        await asyncio.sleep(1 / self._rate)
        return True

    def _is_due(self, letter: DeadLetter) -> bool:
        periods = min(1 << min(letter.replays, 16), LONGEST_WAIT)
        wait: Millis = round(self._period_seconds * periods * 1000)
        return self._clock.now() - letter.updated_at >= wait
