"""Runs one of the real programs with its crash points watched; the stack of the matrix forks this instead.

CRASH_PROGRAM names it (a key of shared.settings.PORTS) and CRASH_MODULE the module that is its own.
"""

import importlib
import os
from typing import Final

from tests.crash.arms import Arms
from tests.crash.points import places_in
from tests.crash.seams import watch

PROGRAM: Final = "CRASH_PROGRAM"
MODULE: Final = "CRASH_MODULE"


def main() -> None:
    program = importlib.import_module(os.environ[MODULE])
    watch_points(os.environ[PROGRAM])
    program.main()


def watch_points(program: str) -> None:
    """Watch every crash point of a program in this process."""
    arms = Arms.told()
    for label, seam in places_in(program).items():
        watch(label, seam, arms)


if __name__ == "__main__":
    main()
