"""The directory of a stack: databases, logs, and the notes that `up` keeps there.

coordinator.db  order.db  stock.db  payment.db     SQLite
logs/<process>.log  logs/<process>.log.1           what the processes say, the newest and the one before
run.json                                           who runs: [{"name","pid","port","startedAt"}], `up` itself,
                                                   and how far the latest rolling restart is
up.lock                                            held by the one `up` that may use the directory
samples.json                                       written once the sample data is in
"""

import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from cli.outcome import Usage

LOG_LIMIT = 10 * 1024 * 1024
"""A log is set aside once it is larger than this many bytes; one older log of each process is kept."""


class DataDirectory:
    """One directory. Raises Usage where it can't be used."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"
        self._lock: IO[str] | None = None

    def acquire(self) -> None:
        """Create the directory if need be, and claim it for this process until release() or its end."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "up.lock").open("a+")
        except OSError as failure:
            raise Usage(f"the data directory {self.path} can't be used: {failure.strerror}") from failure
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as failure:
            lock.close()
            raise Usage(
                f"another `handfast up`{self._holder()} uses the data directory {self.path}: "
                "stop it first, or choose another --data-dir"
            ) from failure
        self._lock = lock

    def release(self) -> None:
        """Let others use the directory."""
        (self.path / "run.json").unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def remove(self) -> None:
        """Remove the directory with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def bound_logs(self, limit: int = LOG_LIMIT) -> None:
        """Set aside the logs that have grown too large.

        They are copied and emptied, not renamed, because their writers keep them open (and only ever append).
        """
        for log in self.logs.glob("*.log"):
            if log.stat().st_size > limit:
                shutil.copyfile(log, log.with_name(f"{log.name}.1"))
                os.truncate(log, 0)

    def note(self, processes: Iterable[dict[str, Any]], restart: dict[str, Any]) -> None:
        """Write run.json: who runs now, and how far the latest rolling restart is."""
        run = {
            "pid": os.getpid(),
            "dataDir": str(self.path),
            "processes": list(processes),
            "restart": restart,
        }
        _write_whole(self.path / "run.json", run)

    def noted(self) -> dict[str, Any] | None:
        """Read run.json: None where nothing runs, or where it was never finished."""
        try:
            run: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return run

    def end_leftovers(self, seconds: float = 3.0) -> list[str]:
        """Kill what an earlier `up`, itself killed, may have left; wait for its end; return the names.

        The kernel has been asked to do the same, so this mostly waits. Only called while the lock is held,
        so whatever run.json names belongs to nobody else; that a pid wasn't given to another process since
        then is seen by when it started.
        """
        run = self.noted() or {"processes": []}
        left = [process for process in run["processes"] if _is_it(process)]
        for process in left:
            _kill(process["pid"])
        deadline = time.monotonic() + seconds
        while any(_is_it(process) for process in left) and time.monotonic() < deadline:
            time.sleep(0.02)
        return [process["name"] for process in left]

    @property
    def has_samples(self) -> bool:
        return (self.path / "samples.json").exists()

    def note_samples(self, samples: dict[str, Any]) -> None:
        """Remember that the sample data is in."""
        _write_whole(self.path / "samples.json", samples)

    def _holder(self) -> str:
        run = self.noted()
        return f" (pid {run['pid']})" if run else ""


def started_at(pid: int) -> int | None:
    """Return when a process started, in the kernel's ticks since boot.

    None where there is no such process, and on systems without /proc.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command's name, in brackets, may hold anything; the state follows it, and start time is field 22.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(fields[18])


def _is_it(process: dict[str, Any]) -> bool:
    return process["startedAt"] is not None and started_at(process["pid"]) == process["startedAt"]


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _write_whole(path: Path, content: dict[str, Any]) -> None:
    # Readers find the old file or the new one, never half of either.
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content, indent=2) + "\n")
    part.replace(path)
