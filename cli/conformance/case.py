"""What a case is, and how effects are compared where the user gave something to watch."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from cli.conformance.drive import Drive
from cli.conformance.exchange import Violation
from cli.conformance.target import Json


class Section(StrEnum):
    """The sections of docs/participants.md, by their headings."""

    TRY = "Try"
    CONFIRM = "Confirm"
    CANCEL = "Cancel"
    REPEATS = "Repeats, races and contradictions"
    EXPIRY = "Expiry"
    MALFORMED = "What makes no sense"

    @property
    def reference(self) -> str:
        anchor = self.value.lower().replace(",", "").replace(" ", "-")
        return f"docs/participants.md#{anchor}"


@dataclass(frozen=True, slots=True)
class Case:
    """One promise of the contract, put to the test.

    does: what is sent; contract: what has to come back, by that section; run: raises Violation or Skipped;
    waits: whether it spends its time waiting, so that it may run beside others (it watches nothing).
    """

    name: str
    section: Section
    does: str
    contract: str
    run: Callable[[Drive], Awaitable[None]]
    waits: bool = False


def expect_same(before: Json | None, after: Json | None, what: str) -> None:
    """Raise Violation where the watched document changed (None: nothing is watched)."""
    if before != after:
        changed = ", ".join(f"{path}: {old} -> {new}" for path, old, new in _changes(before, after))
        raise Violation(f"{what}: the watched document changed ({changed})")


def expect_changed(before: Json | None, after: Json | None, what: str) -> None:
    """Raise Violation where the watched document did not change, although it is watched."""
    if before is not None and before == after:
        raise Violation(f"{what}: the watched document shows no effect")


def expect_equal_effects(
    once: tuple[Json | None, Json | None],
    seen: tuple[Json | None, Json | None],
    what: str,
    times: int = 1,
) -> None:
    """Raise Violation where numbers moved otherwise than so many times what is known of once.

    once, seen: what was watched before and after.
    """
    moved, now = _moved(*once), _moved(*seen)
    if {path: by * times for path, by in moved.items()} != now:
        raise Violation(f"{what}: one alone moves {_shown(moved)}, this moved {_shown(now)}")


def _moved(before: Json | None, after: Json | None) -> dict[str, float]:
    return {
        path: new - old
        for path, old, new in _changes(before, after)
        if isinstance(old, int | float) and isinstance(new, int | float)
    }


def _shown(moved: dict[str, float]) -> str:
    return ", ".join(f"{path} by {by:g}" for path, by in sorted(moved.items())) or "nothing"


def _changes(before: Json, after: Json, path: str = "") -> Iterator[tuple[str, Json, Json]]:
    """Yield where two documents differ: (path, before, after)."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _changes(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for at, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _changes(old, new, f"{path}[{at}]")
    elif before != after:
        yield path or "all of it", before, after
