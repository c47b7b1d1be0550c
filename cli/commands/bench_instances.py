"""`handfast bench instances`: whole orders on several instances of every program, beside one of each."""

from pathlib import Path
from typing import Annotated

import typer

from cli.bench.figures import COLUMNS, row
from cli.bench.instances import compare
from cli.bench.run import write_report
from cli.console import Console
from cli.machine import describe
from cli.options import levels, load_settings
from cli.outcome import CommandError, Usage


def instances(
    of_each: Annotated[
        str, typer.Option(help="How many instances of every program; the first is compared with.")
    ] = "1,2",
    orders: Annotated[int, typer.Option(min=1, help="Orders at each level.")] = 3_000,
    in_flight: Annotated[str, typer.Option(help="Levels: how many orders are in flight.")] = "32",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds at each level, of each in turn.")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report to this file.")] = None,
) -> None:
    """Measure orders on several instances of everything, on the PostgreSQL of HANDFAST_DATABASE_URL."""
    url = load_settings().database_url
    if url is None:
        raise Usage("set HANDFAST_DATABASE_URL to the PostgreSQL that the instances are to share")
    console = Console()
    machine = describe()
    console.line(", ".join(f"{name} {value}" for name, value in machine.items()))
    numbers = levels(of_each, "--of-each")
    measured = compare(url.get_secret_value(), numbers, levels(in_flight), orders, rounds, console.note)
    console.line()
    pairs = [(figures, None if figures is all_[0] else all_[0]) for all_ in measured for figures in all_]
    columns = (*COLUMNS[:-1], f"of {numbers[0]}")
    console.table(columns, [row(figures, first) for figures, first in pairs], heading=True)
    console.line("every accepted order is CONFIRMED; the server's own CPU is not counted")
    if json_file is not None:
        report = [
            figures.summary()
            | (
                {}
                if first is None
                else {"ofFirst": figures.of(first), "ofFirstByRound": figures.by_round(first)}
            )
            for figures, first in pairs
        ]
        write_report(json_file, {"machine": machine, "figures": report})
        console.line(f"written to {json_file}")
    if failed := [figures.failures for figures, _ in pairs if figures.failures]:
        raise CommandError(f"orders were not accepted: {failed}")
