"""Dead letters over all four programs: finding them, and having them published again.

Each program keeps the letters of what it could not apply; together they look like one list here, in the order
in which they were written (letter ids are ULIDs). Replays go through the program that keeps the letter, which
skips what is settled, so that a replay that was cut short is resumed by running it again.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

import httpx

from cli.api import Api, Json
from cli.outcome import CommandError, NothingMatched, OutOfReach
from shared.settings import PORTS

AT_ONCE = 8
"""Requests in flight while replaying."""

SETTLED = "SETTLED"
REPLAYING = "REPLAYING"


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter and the program that keeps it. view: as the REST interface shows it."""

    program: str
    view: Json

    @property
    def id(self) -> str:
        return str(self.view["letterId"])

    @property
    def topic(self) -> str:
        return str(self.view["topic"])

    @property
    def state(self) -> str:
        return str(self.view["state"])


class Fate(StrEnum):
    """What became of a letter that was to be replayed."""

    APPLIED = "applied"
    SKIPPED = "skipped: already settled"
    BACK = "came back"
    UNDER_WAY = "on its way"
    FAILED = "could not be replayed"


@dataclass(frozen=True, slots=True)
class Result:
    letter: Letter
    fate: Fate
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Letters, oldest first, and what could not be asked."""

    letters: list[Letter]
    away: list[OutOfReach]

    def insist(self) -> None:
        """Raise OutOfReach where a program could not be asked."""
        if self.away:
            raise OutOfReach("\n".join(str(failure) for failure in self.away))


def find(api: Api, topic: str | None = None, state: str | None = None) -> Found:
    """Return all letters, or those of a topic or in a state."""
    letters: list[Letter] = []
    away: list[OutOfReach] = []
    for program in PORTS:
        try:
            views = list(api.items(program, "/dead-letters", {"topic": topic, "state": state}))
        except OutOfReach as failure:
            away.append(failure)
        else:
            letters += [Letter(program, view) for view in views]
    return Found(sorted(letters, key=lambda letter: letter.id), away)


def one(api: Api, letter_id: str) -> Letter:
    """Return the letter with an id.

    Raises NothingMatched where no program keeps it, OutOfReach where one that might can't be asked.
    """
    away: list[OutOfReach] = []
    for program in PORTS:
        try:
            return Letter(program, api.get(program, _path(letter_id)))
        except NothingMatched:
            continue
        except OutOfReach as failure:
            away.append(failure)
    Found([], away).insist()
    raise NothingMatched(f"there is no dead letter {letter_id}")


def replay(
    api: Api, letters: Sequence[Letter], *, asked: Json, patience: float, advance: Callable[[], None]
) -> list[Result]:
    """Have letters published again, and hear what became of each; return that in the order of the letters.

    asked: {"who", "why"?} for the ledger; patience: how many seconds without any news are enough; advance:
    is called whenever one's fate is known. Letters that are on their way already, because an earlier replay
    was cut short, are not published once more, only waited for.
    """
    results: dict[str, Result] = {}

    def learn(found: Iterable[Result | None]) -> bool:
        news = [result for result in found if result is not None]
        for result in news:
            results[result.letter.id] = result
            advance()
        return bool(news)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        learn(pool.map(lambda letter: _publish(api, letter, asked), letters))
        last_news = time.monotonic()
        while waiting := [letter for letter in letters if letter.id not in results]:
            gone = _no_longer_on_their_way(api, waiting)
            if learn(pool.map(lambda letter: _fate(api, letter), gone)):
                last_news = time.monotonic()
            elif time.monotonic() - last_news > patience:
                learn(Result(letter, Fate.UNDER_WAY) for letter in waiting)
            else:
                time.sleep(0.1)
    return [results[letter.id] for letter in letters]


def _publish(api: Api, letter: Letter, asked: Json) -> Result | None:
    """Have a letter published again; return its fate where that is known already."""
    if letter.state == SETTLED:
        return Result(letter, Fate.SKIPPED)
    if letter.state == REPLAYING:
        return None
    try:
        answer = api.send("POST", letter.program, f"{_path(letter.id)}/replays", asked)
    except CommandError as failure:
        return Result(letter, Fate.FAILED, str(failure))
    return Result(letter, Fate.SKIPPED) if answer.status == httpx.codes.OK else None


def _no_longer_on_their_way(api: Api, waiting: Sequence[Letter]) -> list[Letter]:
    still = {letter.id for letter in find(api, state=REPLAYING).letters}
    return [letter for letter in waiting if letter.id not in still]


def _fate(api: Api, letter: Letter) -> Result | None:
    """Return what became of a published letter: None while that isn't known, or nobody can be asked."""
    try:
        view = api.get(letter.program, _path(letter.id))
    except OutOfReach:
        return None
    except CommandError as failure:
        return Result(letter, Fate.FAILED, str(failure))
    if view["state"] == SETTLED:
        return Result(letter, Fate.APPLIED)
    return None if view["state"] == REPLAYING else Result(letter, Fate.BACK, error_of(view))


def error_of(view: Json) -> str:
    """Return why a record could not be applied, in a line."""
    exception = view["exception"]
    return str(exception["message"] or exception["type"])


def _path(letter_id: str) -> str:
    return f"/dead-letters/{quote(letter_id, safe='')}"
