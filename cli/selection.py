"""Which dead letters a command is about: the same options on every command that picks letters.

`@selecting` gives a command these options in the place of its parameter `selection`.
"""

import functools
import inspect
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Final

import typer

from cli.outcome import Usage
from shared.clock import from_iso, iso
from shared.settings import PORTS

Everything = Annotated[bool, typer.Option("--all", help="All of them; needs --yes.")]
Yes = Annotated[bool, typer.Option("--yes", help="Yes, that is meant.")]

_AGE: Final = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_STATES: Final = ("OPEN", "REPLAYING", "PARKED", "EDITED", "SETTLED")


@dataclass(frozen=True, slots=True)
class Selection:
    """What the letters have in common; None: anything will do. since, until: ISO 8601, or an age like 2h."""

    topic: str | None = None
    state: str | None = None
    exception: str | None = None
    group: str | None = None
    key: str | None = None
    since: str | None = None
    until: str | None = None
    attempts: int | None = None
    transaction: str | None = None
    program: str | None = None

    def __bool__(self) -> bool:
        """Say whether it leaves any letter out."""
        return any(getattr(self, one.name) is not None for one in fields(self))

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs to ask; raises Usage for one that there isn't."""
        if self.program is None:
            return tuple(PORTS)
        if self.program not in PORTS:
            raise Usage(f"--program {self.program}: it is one of {', '.join(PORTS)}")
        return (self.program,)

    def query(self) -> dict[str, Any]:
        """Return it as the REST interface takes it; raise Usage where it can't be meant."""
        state = None if self.state is None else self.state.upper()
        if state not in (None, *_STATES):
            raise Usage(f"--state {self.state}: it is one of {', '.join(_STATES)}")
        query = {
            "topic": self.topic,
            "state": state,
            "exception": self.exception,
            "group": self.group,
            "key": self.key,
            "since": instant("--since", self.since),
            "until": instant("--until", self.until),
            "attempts": self.attempts,
            "transactionId": self.transaction,
        }
        return {name: value for name, value in query.items() if value is not None}


def instant(option: str, text: str | None) -> str | None:
    """Return an instant as ISO 8601 in UTC, from that or from an age; raise Usage where it is neither."""
    if text is None:
        return None
    if _AGE.fullmatch(text):
        return iso(max(0, time.time_ns() // 1_000_000 - 1_000 * seconds(option, text)))
    try:
        return iso(from_iso(text))
    except ValueError as error:
        raise Usage(f"{option}: {error}; or say how long ago: 30m, 2h, 7d") from error


def seconds(option: str, text: str) -> int:
    """Return an age such as 30m in seconds; raise Usage where it is none."""
    age = _AGE.fullmatch(text)
    if age is None:
        raise Usage(f"{option} {text}: say 90s, 30m, 2h or 7d")
    return int(age[1]) * _UNITS[age[2]]


_OPTIONS: Final[Mapping[str, Any]] = {
    "topic": Annotated[str | None, typer.Option(help="Only those of this topic.")],
    "state": Annotated[str | None, typer.Option(help=f"Only those in this state: {', '.join(_STATES)}.")],
    "exception": Annotated[
        str | None, typer.Option(help="Only those that failed with this exception; its bare name will do.")
    ],
    "group": Annotated[str | None, typer.Option(help="Only those of this group (see `dlt groups`).")],
    "key": Annotated[str | None, typer.Option(help="Only those whose record has this key.")],
    "since": Annotated[
        str | None, typer.Option(help="Only those written since then: ISO 8601, or 2h for two hours ago.")
    ],
    "until": Annotated[str | None, typer.Option(help="Only those written before then.")],
    "attempts": Annotated[int | None, typer.Option(min=1, help="Only those that failed so often or more.")],
    "transaction": Annotated[str | None, typer.Option(help="Only those of this transaction.")],
    "program": Annotated[
        str | None, typer.Option(help=f"Only those that this program keeps: {', '.join(PORTS)}.")
    ],
}


def selecting(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command with a parameter `selection: Selection` the options that make one."""
    signature = inspect.signature(command, eval_str=True)
    own = {name: one for name, one in signature.parameters.items() if name != "selection"}
    options = {
        name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _OPTIONS.items()
    }
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own.values()]

    @functools.wraps(command)
    def selected(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in options}
        command(selection=Selection(**chosen), **given)

    # The command line is made from what a function says of itself.
    selected.__signature__ = inspect.Signature([*parameters, *options.values()])  # type: ignore[attr-defined]
    selected.__annotations__ = {one.name: one.annotation for one in (*parameters, *options.values())}
    return selected
