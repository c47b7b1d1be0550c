"""`handfast restart`: every service of a running `handfast up` anew, one process after the other."""

import os
import time
from typing import Any

from cli.console import Console
from cli.datadir import DataDirectory
from cli.options import DataDir, load_settings
from cli.outcome import CommandError, NothingMatched
from cli.rolling import SIGNAL, Progress, progress_of

LOOK_SECONDS = 0.1


def restart(data_dir: DataDir = None) -> None:
    """Restart the services of a running `handfast up` one after the other, each once the last is ready.

    They read `.env` and the installed release anew. Requests under way are answered, and no connection is
    refused meanwhile.
    """
    console = Console()
    directory = DataDirectory(load_settings(None, data_dir).data_dir)
    before = progress_of(_run(directory)).number
    _signal(directory)
    began = time.monotonic()
    progress = _until(directory, lambda found: found.number > before)
    with console.progress("restarting", progress.total) as advance:
        done = 0
        while progress.running:
            shown = done
            progress = _until(directory, lambda found, shown=shown: found.done > shown or not found.running)
            advance(progress.done - done)
            done = progress.done
    if progress.problem is not None:
        raise CommandError(
            f"{progress.done} of {progress.total} processes were restarted, then it ended: {progress.problem}"
        )
    console.line(f"restarted {progress.total} processes in {time.monotonic() - began:.1f} s")


def _until(directory: DataDirectory, reached: Any) -> Progress:
    while True:
        progress = progress_of(_run(directory))
        if reached(progress):
            return progress
        time.sleep(LOOK_SECONDS)


def _run(directory: DataDirectory) -> dict[str, Any]:
    run = directory.noted()
    if run is None:
        raise NothingMatched(f"no `handfast up` runs on the data directory {directory.path}")
    return run


def _signal(directory: DataDirectory) -> None:
    try:
        os.kill(_run(directory)["pid"], SIGNAL)
    except ProcessLookupError as gone:
        raise NothingMatched(f"no `handfast up` runs on the data directory {directory.path}") from gone
