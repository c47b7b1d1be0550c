"""A database at which several instances of a program are at work: what they have of it besides their rows."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from shared.clock import Millis
from shared.database.port import Database


@runtime_checkable
class SharedDatabase(Database, Protocol):
    """A Database that other instances of the program may use at the same time."""

    async def time(self) -> Millis:
        """Return the store's own time, by which all who share it can go.

        Raises DatabaseUnavailable.
        """
        ...

    def hint(self, key: str) -> None:
        """Tell the other instances that something about key has changed: soon, and as far as they hear it."""
        ...

    async def hear(self, heard: Callable[[str], None]) -> None:
        """Call heard with every key at which others hint, until cancelled. Hints may be lost."""
        ...
