"""Runs many seeds, in as many processes as there are cores.

    python -m tests.simulation.run --seeds 1-100 --orders 50 [--json FILE]   many seeds, a summary
    python -m tests.simulation.run --seed 7 --orders 50 --trace              one seed, and its history
    python -m tests.simulation.run --seed 7 --shrink                         its smallest failing part

Exits 1 where something was found, and says how to replay it.
"""

import argparse
import json
import multiprocessing
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from cli.console import Console
from tests.proof_page import put
from tests.simulation.conditions import Fault
from tests.simulation.shrink import shrink
from tests.simulation.simulate import Case, Report, simulate

MOST_SHRUNK: Final = 3
"""Failing seeds of which the smallest failing part is told at once."""
_IDS: Final = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}(?:-\w+)?|order-\d+")
_AROUND: Final = re.compile(r"trouble|crashes|paused|goes on|starts its life")
EVERY: Final = 10
"""Progress is told after so many seeds."""


@dataclass
class Summary:
    """What many runs came to. healed: the longest time that one took to heal, in virtual seconds."""

    seeds: int = 0
    orders: int = 0
    healed: float = 0.0
    struck: Counter[Fault] = field(default_factory=Counter)
    failures: list[Report] = field(default_factory=list)

    def add(self, report: Report) -> None:
        self.seeds += 1
        self.orders += report.orders
        self.healed = max(self.healed, report.healed)
        self.struck.update(report.struck)
        if report.findings:
            self.failures.append(report)

    def page(self) -> str:
        """Return what docs/proof.md says of it."""
        told = (
            f"{self.seeds} seeds, {self.orders} orders, {len(self.failures)} seeds with findings; the longest"
            f" healing took {self.healed:.0f} virtual seconds."
        )
        faults = [f"| {fault} | {self.struck[fault]} |" for fault in Fault]
        return "\n".join([told, "", "| fault | struck |", "|---|---|", *faults])

    def document(self) -> dict[str, Any]:
        return {
            "seeds": self.seeds,
            "orders": self.orders,
            "longestHealingSeconds": round(self.healed, 1),
            "faults": {fault.value: self.struck[fault] for fault in Fault},
            "failures": [
                {"seed": one.case.seed, "orders": one.case.orders, "findings": list(one.findings)}
                for one in self.failures
            ],
        }


def run_seeds(seeds: Sequence[int], orders: int) -> Iterator[Report]:
    """Run every seed, in processes; yield the reports in the order of the seeds."""
    with processes() as pool:
        yield from pool.map(simulate, [Case(seed, orders) for seed in seeds], chunksize=1)


@contextmanager
def processes() -> Iterator[ProcessPoolExecutor]:
    """Have a process a core, all of which hash strings alike, as far as any order depends on that."""
    # Started anew, not forked, or they would hash as this one does.
    anew = multiprocessing.get_context("spawn")
    with _fixed_hashes(), ProcessPoolExecutor(os.cpu_count(), mp_context=anew) as pool:
        yield pool


@contextmanager
def _fixed_hashes() -> Iterator[None]:
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before


def replay_command(case: Case) -> str:
    """Return how a person replays a case."""
    return f"handfast sim --seed {case.seed} --orders {case.orders} --trace"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run")
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--seeds", default="1-100", help="a range of seeds, such as 1-100")
    parser.add_argument("--orders", type=int, default=50)
    parser.add_argument("--trace", action="store_true", help="print the history of the one seed")
    parser.add_argument(
        "--shrink", action="store_true", help="look for the smallest failing part of the seed"
    )
    parser.add_argument("--least", type=int, default=0, help="fail where a fault struck less often")
    parser.add_argument("--json", type=Path, help="write the summary to this file")
    parser.add_argument("--write", action="store_true", help="put the summary into docs/proof.md")
    asked = parser.parse_args(arguments)
    if asked.seed is not None:
        return _one(Case(asked.seed, asked.orders), trace=asked.trace, smaller=asked.shrink)
    first, _, last = asked.seeds.partition("-")
    summary = _many(range(int(first), int(last or first) + 1), asked.orders)
    if asked.json is not None:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(summary.document(), indent=2) + "\n")
    if asked.write:
        put("simulation", summary.page())
    seldom = [fault.value for fault in Fault if summary.struck[fault] < asked.least]
    if seldom:
        Console().line(f"too seldom to prove anything: {', '.join(seldom)}")
    return 1 if summary.failures or seldom else 0


def _one(case: Case, *, trace: bool, smaller: bool) -> int:
    report = simulate(case, keep_trace=trace)
    if smaller and report.findings:
        report = _shrunk(report)
        if not trace:
            report = replace(report, lines=tuple(telling(report)))
    _tell(Console(), report)
    return 1 if report.findings else 0


def telling(report: Report) -> Iterator[str]:
    """Return those lines of a history that concern what was found, and what went wrong around it."""
    named = set(_IDS.findall("\n".join(report.findings)))
    # An order and its transaction stand beside each other in some line.
    named |= {
        other for line in report.lines if any(one in line for one in named) for other in _IDS.findall(line)
    }
    for line in report.lines:
        if _AROUND.search(line) or any(one in line for one in named):
            yield line


def _shrunk(report: Report) -> Report:
    """Return the smallest failing part of a report, with its history."""
    return simulate(shrink(report, simulate).case, keep_trace=True)


def _many(seeds: Sequence[int], orders: int) -> Summary:
    console, began = Console(), time.monotonic()
    summary = Summary()
    for report in run_seeds(seeds, orders):
        summary.add(report)
        if report.findings:
            console.line(f"seed {report.case.seed}: {len(report.findings)} findings")
        if summary.seeds % EVERY == 0:
            console.line(f"{summary.seeds} of {len(seeds)} seeds, {summary.orders} orders")
    console.line(f"{summary.seeds} seeds, {summary.orders} orders in {time.monotonic() - began:.0f} s")
    for fault in Fault:
        console.line(f"  {summary.struck[fault]:6} {fault}")
    for report in summary.failures:
        _tell(console, report)
    for report in summary.failures[:MOST_SHRUNK]:
        console.line(f"the smallest part of seed {report.case.seed} that fails:")
        smallest = _shrunk(report)
        _tell(console, replace(smallest, lines=tuple(telling(smallest))))
    console.line(
        f"{len(summary.failures)} seeds failed; the longest healing took {summary.healed:.0f} virtual seconds"
    )
    return summary


def _tell(console: Console, report: Report) -> None:
    for line in report.lines:
        console.line(line)
    case = report.case
    console.line(
        f"seed {case.seed}, {case.orders} orders asked, {report.orders} placed, history {report.digest}"
    )
    for trouble in case.plan or ():
        console.line(f"  {trouble}")
    for finding in report.findings:
        console.line(f"  {finding}")
    if report.findings:
        console.line(f"replay: {replay_command(case)}")


if __name__ == "__main__":
    sys.exit(main())
