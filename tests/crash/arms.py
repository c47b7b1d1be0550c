"""What is armed: files in a directory that the runner of the matrix shares with the processes it watches.

<label>.armed    what is to happen at the next pass: die, or wait until the file is gone
<label>.struck   the pid of the process that died there, written just before
<label>.waiting  the pid of a process that waits there
"""

import os
import signal
from enum import StrEnum
from pathlib import Path
from typing import Final

DIRECTORY: Final = "CRASH_DIRECTORY"
"""The variable that tells a watched process where to look."""


class Action(StrEnum):
    DIE = "die"
    WAIT = "wait"


class Arms:
    """One directory of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    @classmethod
    def told(cls) -> "Arms":
        """Return those that this process was told of."""
        return cls(Path(os.environ[DIRECTORY]))

    def arm(self, label: str, action: Action) -> None:
        """Have it happen, once for DIE, to everybody for WAIT."""
        for trace in ("struck", "waiting"):
            self._file(label, trace).unlink(missing_ok=True)
        self._write(label, "armed", action.value)

    def disarm(self, label: str) -> None:
        """Let everybody pass, those who wait too."""
        self._file(label, "armed").unlink(missing_ok=True)

    def action(self, label: str) -> Action | None:
        """Return what is to happen to who passes now."""
        try:
            return Action(self._file(label, "armed").read_text())
        except FileNotFoundError:
            return None

    def strike(self, label: str) -> None:
        """Leave word, and kill this process at once; only the first who comes here does."""
        try:
            self._file(label, "armed").unlink()
        except FileNotFoundError:
            return
        self._write(label, "struck", str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)

    def say_waiting(self, label: str) -> None:
        """Leave word that this process waits."""
        self._write(label, "waiting", str(os.getpid()))

    def struck(self, label: str) -> int | None:
        """Return the pid of the process that died there, None where none did since it was armed."""
        return self._pid(label, "struck")

    def waiting(self, label: str) -> int | None:
        """Return the pid of a process that waits, or waited, there since it was armed."""
        return self._pid(label, "waiting")

    def _pid(self, label: str, trace: str) -> int | None:
        try:
            return int(self._file(label, trace).read_text())
        except FileNotFoundError:
            return None

    def _write(self, label: str, trace: str, text: str) -> None:
        # Readers find the whole file or none.
        part = self._file(label, f"{trace}.{os.getpid()}.part")
        part.write_text(text)
        part.replace(self._file(label, trace))

    def _file(self, label: str, trace: str) -> Path:
        return self.directory / f"{label}.{trace}"
