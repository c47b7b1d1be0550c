"""What happened in a simulation, line by line, and a hash of it all: the same seed gives the same."""

import asyncio
import hashlib


class Trace:
    """Lines with their virtual time, in seconds. keep: whether they can be read afterwards."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, keep: bool = False) -> None:
        self._loop = loop
        self._hash = hashlib.sha256()
        self._keep = keep
        self.lines: list[str] = []

    def note(self, what: str) -> None:
        line = f"{self._loop.time():10.4f} {what}"
        self._hash.update(line.encode())
        if self._keep:
            self.lines.append(line)

    def digest(self) -> str:
        """Return the hash of everything noted so far."""
        return self._hash.hexdigest()
