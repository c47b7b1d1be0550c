"""Seams: functions of the real programs at which a test's process can be made to die, or to wait.

A program that is launched by tests.crash.program has its seams watched: each is replaced by itself with a
look before or after it. What is armed there (tests.crash.arms) then happens in the very middle of the work. A
program that is launched as usual has none of this.
"""

import asyncio
import functools
import importlib
import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from tests.crash.arms import Action, Arms

PAUSE: Final = 0.01
"""Seconds between two looks of who is made to wait."""


class When(Enum):
    """At which moment of a pass through the function it happens."""

    BEFORE = auto()
    AFTER = auto()
    AMID = auto()
    """Of several passes at the same time one has returned, and the next has not begun."""


def _any(*_arguments: Any, **_named: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Seam:
    """A place in a program.

    programs: in which it is, keys of shared.settings.PORTS or the tests' own; place: `module:function` or
    `module:Class.method`, which its callers look up when they call it; given: which passes count, by the
    function's arguments; gave: the same by what it returned (AFTER only).
    """

    programs: tuple[str, ...]
    place: str
    when: When = When.BEFORE
    given: Callable[..., bool] = _any
    gave: Callable[[Any], bool] = _any

    def find(self) -> tuple[Any, str, Callable[..., Any]]:
        """Return what owns the function, its name there, and the function; raise where there is none."""
        module, _, path = self.place.partition(":")
        *owners, name = path.split(".")
        owner: Any = importlib.import_module(module)
        for part in owners:
            owner = getattr(owner, part)
        function = vars(owner)[name]
        if not inspect.isfunction(function):
            raise TypeError(f"{self.place} is no function: {function!r}")
        return owner, name, function


def watch(label: str, seam: Seam, arms: Arms) -> None:
    """Have the seam's function look, at every pass, for what is armed under the label."""
    owner, name, function = seam.find()
    watcher = _Watcher(label, seam, arms)

    @functools.wraps(function)
    async def run_async(*arguments: Any, **named: Any) -> Any:
        look = watcher.enter(arguments, named)
        while look is not None and look():  # noqa: ASYNC110 - who looks after it is another process
            await asyncio.sleep(PAUSE)
        result = await function(*arguments, **named)
        watcher.leave(result, arguments, named)
        return result

    @functools.wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        look = watcher.enter(arguments, named)
        while look is not None and look():
            time.sleep(PAUSE)
        result = function(*arguments, **named)
        watcher.leave(result, arguments, named)
        return result

    setattr(owner, name, run_async if inspect.iscoroutinefunction(function) else run)


class _Watcher:
    def __init__(self, label: str, seam: Seam, arms: Arms) -> None:
        self._label = label
        self._seam = seam
        self._arms = arms
        self._entered = 0
        self._returned = 0

    def enter(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> Callable[[], bool] | None:
        """Begin a pass: die, or return what says for how long it has to wait (None: not at all)."""
        action = self._arms.action(self._label)
        if action is None or not self._seam.given(*arguments, **named):
            return None
        if self._seam.when is When.AMID:
            self._entered += 1
            return None if self._entered == 1 else self._die_after_the_first
        if action is Action.WAIT:
            self._arms.say_waiting(self._label)
            return self._is_armed
        if self._seam.when is When.BEFORE:
            self._arms.strike(self._label)
        return None

    def leave(self, result: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """End a pass, or die."""
        if self._seam.when is When.BEFORE or self._arms.action(self._label) is not Action.DIE:
            return
        if not self._seam.given(*arguments, **named) or not self._seam.gave(result):
            return
        self._returned += 1
        if self._seam.when is When.AFTER:
            self._arms.strike(self._label)

    def _die_after_the_first(self) -> bool:
        if self._returned:
            self._arms.strike(self._label)
        return True

    def _is_armed(self) -> bool:
        return self._arms.action(self._label) is not None
