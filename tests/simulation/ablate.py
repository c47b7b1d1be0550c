"""Which seed misses which safeguard: `python -m tests.simulation.ablate [--most 200] [--write]`.

Every ablation is hunted through the seeds in turn until one finds it missing. --write puts the table into
docs/proof.md. Exits 1 where a safeguard is missed by no seed.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cli.console import Console
from tests.proof_page import put
from tests.simulation.ablations import ABLATIONS
from tests.simulation.run import processes
from tests.simulation.shrink import kinds
from tests.simulation.simulate import Case, simulate

ORDERS: Final = 50
MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Catch:
    """What came of hunting one ablation. seed: None: no seed missed it; invariants: those it broke."""

    name: str
    without: str
    seed: int | None
    invariants: tuple[str, ...]


def hunt(number: int, most: int = MOST) -> Catch:
    """Try seeds until one misses the safeguard with that number in the table."""
    ablation = ABLATIONS[number]
    for seed in range(1, most + 1):
        with ablation.patch():
            report = simulate(Case(seed, ORDERS))
        if report.findings:
            return Catch(ablation.name, ablation.without, seed, tuple(sorted(kinds(report))))
    return Catch(ablation.name, ablation.without, None, ())


def hunt_all(most: int = MOST) -> Iterator[Catch]:
    """Hunt all of them, in processes; yield what was caught in the order of the table."""
    with processes() as pool:
        yield from pool.map(hunt, range(len(ABLATIONS)), [most] * len(ABLATIONS))


def table(caught: Sequence[Catch]) -> str:
    """Return the table as docs/proof.md has it."""
    lines = ["| safeguard | without it | seeds until caught | what caught it |", "|---|---|---|---|"]
    lines += [
        f"| {one.name} | {one.without} | {one.seed or 'never'} | {'; '.join(one.invariants)} |"
        for one in caught
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt, tell, write; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.ablate")
    parser.add_argument("--most", type=int, default=MOST, help="seeds to try for each")
    parser.add_argument("--write", action="store_true", help="put the table into docs/proof.md")
    asked = parser.parse_args(arguments)
    console, caught = Console(), []
    for one in hunt_all(asked.most):
        caught.append(one)
        console.line(f"{one.name}: {'never caught' if one.seed is None else f'caught by seed {one.seed}'}")
    missed = [one.name for one in caught if one.seed is None]
    console.line(f"{len(caught) - len(missed)} of {len(caught)} ablations caught")
    if asked.write:
        put("ablations", table(caught))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
