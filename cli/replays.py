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

from cli.api import Api, Json
from cli.letters import EDITED, REPLAYING, SETTLED, Letter, error_of
from cli.outcome import CommandError, OutOfReach
from cli.rate import Rate
from shared.http.problems import PROBLEM_TYPE

AT_ONCE: Final = 8
"""Requests in flight while replaying."""
MOST_IN_ONE: Final = 100
"""Letters that one request names, as the programs take it."""
MOST_ON_THEIR_WAY: Final = 500
"""Letters published and not yet heard of, at most."""
LOOK_SECONDS: Final = 0.1


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
    rate = Rate(manner.rate, MOST_IN_ONE, time.monotonic())
    for some in (letters[: manner.canary], letters[manner.canary :]):
        came_back = sum(result.fate not in DONE for result in results.values())
        if came_back:
            why = f"{came_back} of {len(results)} canaries were not applied"
            stopped = [Result(letter, Fate.STOPPED, why) for letter in some]
            results |= {result.letter.id: result for result in stopped}
        elif some:
            results |= _Run(api, some, manner, rate, advance).results()
    return [results[letter.id] for letter in letters]


class _Run:
    """Some letters: `pending` waits for its turn, `asking` is being asked for, `waiting` to hear."""

    def __init__(
        self,
        api: Api,
        letters: Sequence[Letter],
        manner: Manner,
        rate: Rate,
        advance: Callable[[], None],
    ) -> None:
        self._api = api
        self._manner = manner
        self._rate = rate
        self._advance = advance
        # A request is to one program, so the letters of one go after each other.
        ordered = sorted(letters, key=lambda letter: letter.program)
        self._pending = deque(letter for letter in ordered if letter.state not in (SETTLED, REPLAYING))
        self._asking: dict[Future[list[Result | None]], list[Letter]] = {}
        self._waiting = {letter.id: letter for letter in letters if letter.state == REPLAYING}
        self._settled = [letter for letter in letters if letter.state == SETTLED]
        self._results: dict[str, Result] = {}
        self._looking: Future[list[Result]] | None = None
        self._look_at = self._news_at = time.monotonic()

    def results(self) -> dict[str, Result]:
        self._learn(Result(letter, Fate.SKIPPED) for letter in self._settled)
        # Looking has a thread of its own: it may take long, and the rate is kept meanwhile.
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
        while self._pending and len(self._asking) < AT_ONCE:
            count = self._rate.due(now)
            on_their_way = len(self._waiting) + sum(map(len, self._asking.values()))
            if count == 0 or on_their_way + count > MOST_ON_THEIR_WAY:
                return
            letters = self._next(count)
            self._asking[pool.submit(_publish, self._api, letters, self._manner.asked)] = letters
            self._rate.ask(len(letters), now)

    def _next(self, count: int) -> list[Letter]:
        """Take the next letters, at most so many, that one program keeps."""
        letters = [self._pending.popleft()]
        while self._pending and len(letters) < count and self._pending[0].program == letters[0].program:
            letters.append(self._pending.popleft())
        return letters

    def _answers(self) -> None:
        """Take in what was answered by now, or wait a moment for it."""
        if not self._asking:
            time.sleep(LOOK_SECONDS / 10)
            return
        done, _ = wait(self._asking, timeout=LOOK_SECONDS / 10, return_when=FIRST_COMPLETED)
        for one in done:
            letters, results = self._asking.pop(one), one.result()
            self._news_at = time.monotonic()
            self._rate.answer(len(letters), self._news_at)
            for letter, result in zip(letters, results, strict=True):
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

    def _learn(self, found: Iterable[Result]) -> None:
        for result in found:
            if result.letter.id not in self._results:
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


def _publish(api: Api, letters: Sequence[Letter], asked: Json) -> list[Result | None]:
    """Have letters of one program published again; return for each its fate where that is known already."""
    request = {**asked, "letterIds": [letter.id for letter in letters]}
    try:
        body = api.send("POST", letters[0].program, "/dead-letters/replays", request).body
    except CommandError as failure:
        return [Result(letter, Fate.FAILED, str(failure)) for letter in letters]
    assert body is not None
    return [_answered(letter, said) for letter, said in zip(letters, body["items"], strict=True)]


def _answered(letter: Letter, said: Json) -> Result | None:
    """Return a letter's fate as far as the answer about it tells."""
    if "problem" in said:
        problem = said["problem"]
        slug = problem["type"].removeprefix(PROBLEM_TYPE)
        return Result(letter, Fate.FAILED, f"{slug}: {problem['detail']}")
    result = said["result"]
    skipped = result.get("skipped")
    if skipped in (None, "under-way"):
        return None
    detail = f"after {result['replays']} replays" if skipped == "parked" else result.get("replacedBy", "")
    return Result(letter, _SKIPPED[skipped], detail)


def _fates(api: Api, waiting: Sequence[Letter]) -> list[Result]:
    """Return what became of published letters, as far as that is known."""
    found: list[Result] = []
    for program in {letter.program: None for letter in waiting}:
        letters = [letter for letter in waiting if letter.program == program]
        for start in range(0, len(letters), MOST_IN_ONE):
            found += _fates_of(api, letters[start : start + MOST_IN_ONE])
    return found


def _fates_of(api: Api, letters: Sequence[Letter]) -> list[Result]:
    """Return what became of letters of one program: nothing where that can't be asked just now."""
    query = {"letterId": [letter.id for letter in letters]}
    try:
        items = api.get(letters[0].program, "/dead-letters/standings", query)["items"]
    except OutOfReach:
        return []
    except CommandError as failure:
        return [Result(letter, Fate.FAILED, str(failure)) for letter in letters]
    views = {view["letterId"]: view for view in items}
    fates = [_fate(letter, views.get(letter.id)) for letter in letters]
    return [result for result in fates if result is not None]


def _fate(letter: Letter, view: Json | None) -> Result | None:
    """Return what became of a published letter, None while it is on its way. view: None where it is gone."""
    if view is None:
        return Result(letter, Fate.FAILED, f"there is no dead letter {letter.id} any more")
    if view["state"] == SETTLED:
        return Result(letter, Fate.APPLIED)
    if view["state"] == EDITED:
        return Result(letter, Fate.EDITED, view.get("replacedBy", ""))
    return None if view["state"] == REPLAYING else Result(letter, Fate.BACK, error_of(view))
