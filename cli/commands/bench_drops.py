"""`handfast bench drops`: a crowd before a drop, by either gate, beside a bare POST in the same run."""

from pathlib import Path
from typing import Annotated

import typer

from cli.bench.drops import COLUMNS, Crowd, gates_to_measure, measure, rows
from cli.bench.run import write_report
from cli.console import Console
from cli.machine import describe
from cli.outcome import CommandError


def drops(
    units: Annotated[int, typer.Option(min=1, help="Units of the drop.")] = 10_000,
    claims: Annotated[int, typer.Option(min=1, help="Claims in each round.")] = 50_000,
    customers: Annotated[int, typer.Option(min=1, help="Customers who make them.")] = 30_000,
    in_flight: Annotated[int, typer.Option(min=1, help="Claims in flight.")] = 128,
    rounds: Annotated[int, typer.Option(min=1, help="Drops for each gate.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report to this file.")] = None,
) -> None:
    """Have a crowd claim a drop, and check that nobody gets what isn't there."""
    console = Console()
    machine = describe()
    console.line(", ".join(f"{name} {value}" for name, value in machine.items()))
    crowd = Crowd(units, claims, customers, in_flight)
    measured = measure(crowd, rounds, gates_to_measure(console.note), console.note)
    console.line()
    console.table(COLUMNS, [row for one in measured for row in rows(one)], heading=True)
    console.line("every unit is issued once, no customer has two, and no claim that was answered 202 is lost")
    if json_file is not None:
        write_report(json_file, {"machine": machine, "figures": [one.summary() for one in measured]})
        console.line(f"written to {json_file}")
    if failed := [one.claims.failures for one in measured if one.claims.failures]:
        raise CommandError(f"claims were not answered as they should be: {failed}")
