"""Simulates for hours: `python -m tests.simulation.soak --hours 8` or `--orders 1000000`.

It goes on where the last soak in the same directory stopped, notes where it is after every few seeds, and
writes a report. Exits 1 where a seed failed; the seeds that did are in the report.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cli.console import Console
from tests.simulation.conditions import Fault
from tests.simulation.run import run_seeds

ORDERS: Final = 50
CHUNK: Final = 20
"""Seeds between two notes."""
FIRST_SEED: Final = 1_000
"""Beyond those that the proof takes."""


class Soak:
    """What was simulated so far, kept in a directory."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "soak.json"
        directory.mkdir(parents=True, exist_ok=True)
        self.state: dict[str, Any] = {"nextSeed": FIRST_SEED, "orders": 0, "seconds": 0.0}
        self.state |= {"faults": {}, "failed": {}}
        if self._file.exists():
            self.state |= json.loads(self._file.read_text(encoding="utf-8"))

    def go_on(self) -> None:
        """Run the next seeds, and note what came of them."""
        began, first = time.monotonic(), self.state["nextSeed"]
        for report in run_seeds(range(first, first + CHUNK), ORDERS):
            self.state["orders"] += report.orders
            for fault, times in report.struck.items():
                self.state["faults"][fault] = self.state["faults"].get(fault, 0) + times
            if report.findings:
                self.state["failed"][str(report.case.seed)] = list(report.findings)
        self.state["nextSeed"] = first + CHUNK
        self.state["seconds"] += time.monotonic() - began
        # Whole or not at all, so that a soak that is stopped here goes on.
        written = self._file.with_suffix(".tmp")
        written.write_text(json.dumps(self.state, indent=2) + "\n", encoding="utf-8")
        written.replace(self._file)

    def report(self) -> str:
        """Return what was found so far, for a person."""
        seeds = self.state["nextSeed"] - FIRST_SEED
        lines = [
            f"{seeds} seeds, {self.state['orders']} orders in {self.state['seconds'] / 3600:.2f} h,"
            f" {len(self.state['failed'])} seeds failed"
        ]
        lines += [f"  {self.state['faults'].get(fault, 0):9} {fault}" for fault in Fault]
        for seed, findings in self.state["failed"].items():
            lines.append(f"seed {seed} (handfast sim --seed {seed} --orders {ORDERS}):")
            lines += [f"  {finding}" for finding in findings]
        return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak for as long as was asked; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.soak")
    parser.add_argument("--hours", type=float, help="for so long, from now on")
    parser.add_argument("--orders", type=int, help="until so many, earlier soaks included")
    parser.add_argument("--dir", type=Path, default=Path("reports/soak"), help="where it is noted")
    asked = parser.parse_args(arguments)
    if asked.hours is None and asked.orders is None:
        asked.hours = 1.0
    console, soak, began = Console(), Soak(asked.dir), time.monotonic()
    while _more(asked, soak, time.monotonic() - began):
        soak.go_on()
        (asked.dir / "report.txt").write_text(soak.report() + "\n", encoding="utf-8")
        console.line(soak.report().partition("\n")[0])
    console.line(soak.report())
    return 1 if soak.state["failed"] else 0


def _more(asked: argparse.Namespace, soak: Soak, seconds: float) -> bool:
    if asked.hours is not None and seconds >= asked.hours * 3600:
        return False
    return bool(asked.orders is None or soak.state["orders"] < asked.orders)


if __name__ == "__main__":
    sys.exit(main())
