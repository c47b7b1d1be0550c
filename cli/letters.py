"""Dead letters over all four programs, as one list.

Each program keeps the letters of what it could not apply; together they look like one list here, in the order
in which they were written.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from cli.api import Api, Json
from cli.credentials import login_name
from cli.outcome import NothingMatched, OutOfReach
from cli.selection import Selection
from shared.settings import PORTS

OPEN: Final = "OPEN"
REPLAYING: Final = "REPLAYING"
PARKED: Final = "PARKED"
EDITED: Final = "EDITED"
SETTLED: Final = "SETTLED"


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

    def as_json(self) -> Json:
        return {"program": self.program, **self.view}


@dataclass(frozen=True, slots=True)
class Found:
    """Letters, oldest first, and what could not be asked."""

    letters: list[Letter]
    away: list[OutOfReach]

    def insist(self) -> None:
        """Raise OutOfReach where a program could not be asked."""
        if self.away:
            raise OutOfReach("\n".join(str(failure) for failure in self.away))


def find(api: Api, selection: Selection, *states: str) -> Found:
    """Return the selected letters; states: those in any of these, in the order in which a letter takes them.

    A letter that moves on while the programs are asked is found in the last state in which it was seen.
    """
    letters: dict[str, Letter] = {}
    away: list[OutOfReach] = []
    query = selection.query()
    for program in selection.programs:
        try:
            for state in states or (None,):
                narrowed = query if state is None else {**query, "state": state}
                for view in api.items(program, "/dead-letters", narrowed):
                    letters[view["letterId"]] = Letter(program, view)
        except OutOfReach as failure:
            away.append(failure)
    return Found(sorted(letters.values(), key=lambda letter: letter.id), away)


def to_replay(api: Api, selection: Selection) -> Found:
    """Return the selected letters that a replay is about: open ones, and those that are on their way."""
    # One that comes back while it is looked for was REPLAYING first.
    states = () if selection.state else (REPLAYING, OPEN)
    return find(api, selection, *states)


def stream(api: Api, program: str, selection: Selection, *, redact: bool) -> Iterator[Letter]:
    """Go through a program's selected letters, a page at a time, in the order in which they were written."""
    query = {**selection.query(), "redact": str(redact).lower()}
    for view in api.items(program, "/dead-letters", query):
        yield Letter(program, view)


def one(api: Api, letter_id: str, *, redact: bool = True) -> Letter:
    """Return the letter with an id.

    Raises NothingMatched where no program keeps it, OutOfReach where one that might can't be asked.
    """
    away: list[OutOfReach] = []
    query = None if redact else {"redact": "false"}
    for program in PORTS:
        try:
            return Letter(program, api.get(program, path(letter_id), query))
        except NothingMatched:
            continue
        except OutOfReach as failure:
            away.append(failure)
    Found([], away).insist()
    raise NothingMatched(f"there is no dead letter {letter_id}")


def asked(why: str | None) -> Json:
    """Return the part of a request that says who is at the terminal, and why this is wanted."""
    return {"who": login_name(), **({} if why is None else {"why": why})}


def error_of(view: Json) -> str:
    """Return why a record could not be applied, in a line."""
    exception = view["exception"]
    return str(exception["message"] or exception["type"])


def path(letter_id: str) -> str:
    """Return where a letter is in the REST interface."""
    return f"/dead-letters/{quote(letter_id, safe='')}"
