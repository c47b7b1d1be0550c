"""The whole proof, part after part: `make proof` (`python -m tests.proof [--write]`).

Each part is a program of its own that says what it does and exits 1 where anything is not as it must be; one
that fails doesn't keep the others from running. --write puts what they found into docs/proof.md.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cli.console import Console

ROOT: Final = Path(__file__).resolve().parent.parent
REPORTS: Final = ROOT / "reports"


class Part(NamedTuple):
    """One program. writes: whether it takes --write."""

    name: str
    command: tuple[str, ...]
    writes: bool = False


PARTS: Final = (
    Part("the model", ("tests.model.check", "--full")),
    Part(
        "400 simulated histories", ("tests.simulation.run", "--seeds", "1-400", "--least", "100"), writes=True
    ),
    Part("safeguards switched off", ("tests.simulation.ablate",), writes=True),
    Part("crashes of real processes", ("tests.crash.matrix",), writes=True),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every part; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof")
    parser.add_argument("--write", action="store_true", help="put the results into docs/proof.md")
    asked = parser.parse_args(arguments)
    console = Console()
    REPORTS.mkdir(exist_ok=True)
    failed = []
    for part in PARTS:
        console.line(f"=== {part.name}")
        began = time.monotonic()
        code = _run(part, write=asked.write)
        console.line(f"=== {part.name}: {'failed' if code else 'passed'} in {time.monotonic() - began:.0f} s")
        if code:
            failed.append(part.name)
    console.line(f"{len(PARTS) - len(failed)} of {len(PARTS)} parts passed")
    return 1 if failed else 0


def _run(part: Part, *, write: bool) -> int:
    command = [sys.executable, "-m", *part.command, *(["--write"] if write and part.writes else [])]
    # Strings hashed alike, as far as the order of anything depends on that.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
