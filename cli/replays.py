"""Replays of many letters: at a rate, some ahead as canaries, and what became of each.

Replays go through the program that keeps the letter, which skips what is settled, so that a replay that was
cut short is resumed by running it again.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import httpx

from cli.api import Api, Json
from cli.letters import EDITED, REPLAYING, SETTLED, Letter, error_of, find, path
from cli.outcome import CommandError, OutOfReach
from cli.selection import Selection

AT_ONCE: Final = 8
"""Requests in flight while replaying."""
MOST_ON_THEIR_WAY: Final = 500
"""Letters published and not yet heard of, at most: so many are asked about at a time."""
LOOK_SECONDS: Final = 0.1
CATCH_UP_SECONDS: Final = 0.1
"""What a rate's delays may be made up for by: so much of it goes at once, and no more."""


class Fate(StrEnum):
    """What became of a letter that was to be replayed."""

    APPLIED = "applied"
    SKIPPED = "skipped: already settled"
    EDITED = "skipped: another letter took its place"
    CANCELLED = "skipped: what it confirms is cancelled"
    UNDECIDED = "not replayed: nothing is decided yet"
    PARKED = "parked"
    BACK = "came back"
    UNDER_WAY = "on its way"
    FAILED = "could not be replayed"
    STOPPED = "not replayed"


DONE: Final = frozenset({Fate.APPLIED, Fate.SKIPPED, Fate.EDITED, Fate.CANCELLED})
"""The fates that leave nothing to do."""
_SKIPPED: Final = {
    "settled": Fate.SKIPPED,
    "edited": Fate.EDITED,
    "cancelled": Fate.CANCELLED,
    "undecided": Fate.UNDECIDED,
    "parked": Fate.PARKED,
}


@dataclass(frozen=True, slots=True)
class Result:
    letter: Letter
    fate: Fate
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Manner:
    """How letters are replayed.

    asked: the body of every request; rate: letters a second, None: as fast as they go; canary: so many go
    first, and the rest only if all of them are applied; patience: seconds without any news that are enough.
    """

    asked: Json
    rate: float | None = None
    canary: int = 0
    patience: float = 30.0


def replay(api: Api, letters: Sequence[Letter], manner: Manner, advance: Callable[[], None]) -> list[Result]:
    """Have letters published again, and hear what became of each; return that in the order of the letters.

    advance: is called whenever one's fate is known. Letters that are on their way already, because an earlier
    replay was cut short, are not published once more, only waited for.
    """
    results: dict[str, Result] = {}
    for some in (letters[: manner.canary], letters[manner.canary :]):
        came_back = sum(result.fate not in DONE for result in results.values())
        if came_back:
            why = f"{came_back} of {len(results)} canaries were not applied"
            stopped = [Result(letter, Fate.STOPPED, why) for letter in some]
            results |= {result.letter.id: result for result in stopped}
        elif some:
            results |= _Run(api, some, manner, advance).results()
    return [results[letter.id] for letter in letters]


class _Run:
    """One batch on its way: `pending` waits for its turn, `asking` is being asked for, `waiting` to hear."""

    def __init__(
        self, api: Api, letters: Sequence[Letter], manner: Manner, advance: Callable[[], None]
    ) -> None:
        self._api = api
        self._manner = manner
        self._advance = advance
        self._pending = deque(letter for letter in letters if letter.state != REPLAYING)
        self._asking: dict[Future[Result | None], Letter] = {}
        self._waiting = {letter.id: letter for letter in letters if letter.state == REPLAYING}
        self._results: dict[str, Result] = {}
        self._looking: Future[list[Result | None]] | None = None
        self._next_at = self._look_at = self._news_at = time.monotonic()

    def results(self) -> dict[str, Result]:
        # Looking has threads of its own: it may take long, and the rate is kept meanwhile.
        with ThreadPoolExecutor(AT_ONCE) as pool, ThreadPoolExecutor(1) as looker:
            while self._pending or self._asking or self._waiting:
                self._ask(pool)
                self._answers()
                self._look(looker)
                if time.monotonic() - self._news_at > self._manner.patience:
                    self._give_up()
        return self._results

    def _ask(self, pool: ThreadPoolExecutor) -> None:
        """Ask for the replays whose turn it is."""
        now = time.monotonic()
        while self._pending and len(self._asking) < AT_ONCE and self._next_at <= now:
            if len(self._waiting) + len(self._asking) >= MOST_ON_THEIR_WAY:
                return
            letter = self._pending.popleft()
            self._asking[pool.submit(_publish, self._api, letter, self._manner.asked)] = letter
            if self._manner.rate is not None:
                self._next_at = max(self._next_at, now - CATCH_UP_SECONDS) + 1 / self._manner.rate

    def _answers(self) -> None:
        """Take in what was answered by now, or wait a moment for it."""
        if not self._asking:
            time.sleep(LOOK_SECONDS / 10)
            return
        done, _ = wait(self._asking, timeout=LOOK_SECONDS / 10, return_when=FIRST_COMPLETED)
        for one in done:
            letter, result = self._asking.pop(one), one.result()
            self._news_at = time.monotonic()
            if result is None:
                self._waiting[letter.id] = letter
            else:
                self._learn([result])

    def _look(self, looker: ThreadPoolExecutor) -> None:
        """Look now and then what became of those that were published."""
        if self._looking is not None:
            if self._looking.done():
                self._learn(self._looking.result())
                self._looking, self._look_at = None, time.monotonic() + LOOK_SECONDS
        elif self._waiting and time.monotonic() >= self._look_at:
            self._looking = looker.submit(_fates, self._api, list(self._waiting.values()))

    def _learn(self, found: Iterable[Result | None]) -> None:
        for result in found:
            if result is not None and result.letter.id not in self._results:
                self._waiting.pop(result.letter.id, None)
                self._results[result.letter.id] = result
                self._news_at = time.monotonic()
                self._advance()

    def _give_up(self) -> None:
        """Wait no longer: nothing is heard of those that are on their way, so no more are sent after them."""
        silent = f"nothing was heard for {self._manner.patience:g} s"
        self._learn([Result(letter, Fate.UNDER_WAY) for letter in self._waiting.values()])
        self._learn([Result(letter, Fate.STOPPED, silent) for letter in self._pending])
        self._pending.clear()


def _publish(api: Api, letter: Letter, asked: Json) -> Result | None:
    """Have a letter published again; return its fate where that is known already."""
    if letter.state == SETTLED:
        return Result(letter, Fate.SKIPPED)
    try:
        answer = api.send("POST", letter.program, f"{path(letter.id)}/replays", asked)
    except CommandError as failure:
        return Result(letter, Fate.FAILED, str(failure))
    if answer.status != httpx.codes.OK or answer.body is None:
        return None
    said = answer.body
    detail = f"after {said['replays']} replays" if said["skipped"] == "parked" else said.get("replacedBy", "")
    return Result(letter, _SKIPPED[said["skipped"]], detail)


def _fates(api: Api, waiting: Sequence[Letter]) -> list[Result | None]:
    """Return what became of published letters, as far as that is known."""
    still = {letter.id for letter in find(api, Selection(), REPLAYING).letters}
    gone = [letter for letter in waiting if letter.id not in still]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda letter: _fate(api, letter), gone))


def _fate(api: Api, letter: Letter) -> Result | None:
    """Return what became of a published letter: None while that isn't known, or nobody can be asked."""
    try:
        view = api.get(letter.program, path(letter.id))
    except OutOfReach:
        return None
    except CommandError as failure:
        return Result(letter, Fate.FAILED, str(failure))
    if view["state"] == SETTLED:
        return Result(letter, Fate.APPLIED)
    if view["state"] == EDITED:
        return Result(letter, Fate.EDITED, view.get("replacedBy", ""))
    return None if view["state"] == REPLAYING else Result(letter, Fate.BACK, error_of(view))
