"""Contention on stock: four strategies and the design before them, measured by a program of the tests.

That program holds stock as the stock service does, without its doors: what is compared is how a hold is
decided, and over HTTP the doors would cost more than that. It interleaves all systems, so that drift hits
all alike.
"""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cli.bench.figures import Figures, percentile, rounded
from cli.bench.run import Say, python
from cli.launcher import ROOT
from cli.outcome import CommandError

PROGRAM = "tests.contention.run"
OLD = "lock-and-batch"


@dataclass
class Cell:
    """What was measured of one system on so many products at one level. aborts: answers "try again";
    retries: looks that were in vain, inside of a try."""

    products: int
    figures: Figures
    aborts: int = 0
    retries: int = 0
    old: "Cell | None" = field(default=None, repr=False)

    def add(self, found: dict[str, Any]) -> None:
        """Add a slice, as the program tells it."""
        self.figures.add(
            seconds=found["seconds"], cpu=found["cpu"], latencies=found["latencies"], failures={}
        )
        self.aborts += found["aborts"]
        self.retries += found["retries"]

    @property
    def p99(self) -> float | None:
        return percentile(self.figures.latencies, 99)

    def times_old(self) -> float | None:
        """Return the rate as a multiple of the old design's."""
        if self.old is None or not self.old.figures.rate:
            return None
        return self.figures.rate / self.old.figures.rate

    def p99_of_old(self) -> float | None:
        """Return the p99 as a part of the old design's."""
        mine, theirs = self.p99, None if self.old is None else self.old.p99
        return None if mine is None or not theirs else mine / theirs

    def summary(self) -> dict[str, Any]:
        """Return the cell as it is written to JSON."""
        measured = self.figures.summary()
        kept = ("system", "inFlight", "orders", "ordersPerSecond", "ordersPerSecondByRound", "p50Ms", "p99Ms")
        times, part = self.times_old(), self.p99_of_old()
        return {
            "products": self.products,
            **{name: measured[name] for name in (*kept, "cpuMicrosecondsPerOrder")},
            "aborts": self.aborts,
            "retries": self.retries,
            "timesOld": None if times is None else round(times, 2),
            "p99OfOld": None if part is None else round(part, 3),
        }


COLUMNS = (
    "products",
    "in flight",
    "system",
    "orders/s",
    "times old",
    "p50 ms",
    "p99 ms",
    "p99 of old's",
    "aborts",
    "retries",
)


def row(cell: Cell) -> tuple[Any, ...]:
    """Return a line of the table."""
    times, part = cell.times_old(), cell.p99_of_old()
    return (
        cell.products,
        cell.figures.in_flight,
        cell.figures.system,
        round(cell.figures.rate),
        None if times is None else f"{times:.1f}",
        rounded(percentile(cell.figures.latencies, 50)),
        rounded(cell.p99),
        None if part is None else f"{part:.2f}",
        cell.aborts,
        cell.retries,
    )


def measure(
    in_flight: Sequence[int], products: Sequence[int], seconds: float, rounds: int, old_pause: float, say: Say
) -> list[Cell]:
    """Measure every system at every level; return the cells in the order of the table.

    seconds: of each slice; old_pause: see the program. Raises CommandError where one unit too many was held.
    """
    if not (ROOT / "tests" / "contention").is_dir():
        raise CommandError("the systems that are compared come with the source: run this from a clone")
    plan = {"in-flight": _joined(in_flight), "products": _joined(products), "seconds": str(seconds)}
    plan |= {"rounds": str(rounds), "old-pause": str(old_pause)}
    options = [part for name, value in plan.items() for part in (f"--{name}", value)]
    cells: dict[tuple[int, int, str], Cell] = {}
    with python(PROGRAM, *options, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            if "say" in told:
                say(told["say"])
            else:
                _cell(cells, told["slice"]).add(told["slice"])
        if process.wait() != 0:
            raise CommandError("one unit too many was held, or the measurement ended early: see above")
    return list(cells.values())


def _cell(cells: dict[tuple[int, int, str], Cell], found: dict[str, Any]) -> Cell:
    products, in_flight, system = found["products"], found["inFlight"], found["system"]
    cell = cells.get((products, in_flight, system))
    if cell is None:
        old = cells.get((products, in_flight, OLD))
        cell = cells[products, in_flight, system] = Cell(products, Figures(system, in_flight), old=old)
    return cell


def _joined(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))
