"""`handfast bench databases`: whole orders on PostgreSQL, beside SQLite in the same run."""

from pathlib import Path
from typing import Annotated

import typer

from cli.bench.databases import compare
from cli.bench.figures import COLUMNS, row
from cli.bench.run import write_report
from cli.console import Console
from cli.machine import describe
from cli.options import levels, load_settings
from cli.outcome import CommandError, Usage


def databases(
    orders: Annotated[int, typer.Option(min=1, help="Orders at each level.")] = 3_000,
    in_flight: Annotated[str, typer.Option(help="Levels: how many orders are in flight.")] = "32",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds at each level, of either in turn.")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report to this file.")] = None,
) -> None:
    """Measure orders on the PostgreSQL of HANDFAST_DATABASE_URL, beside SQLite in the same run."""
    url = load_settings().database_url
    if url is None:
        raise Usage("set HANDFAST_DATABASE_URL to the PostgreSQL that is to be measured")
    console = Console()
    machine = describe()
    console.line(", ".join(f"{name} {value}" for name, value in machine.items()))
    pairs = compare(url.get_secret_value(), levels(in_flight), orders, rounds, console.note)
    console.line()
    columns = (*COLUMNS[:-1], "of SQLite")
    lines = [line for file, server in pairs for line in (row(file, None), row(server, file))]
    console.table(columns, lines, heading=True)
    console.line("every accepted order is CONFIRMED; the server's own CPU is not counted")
    if json_file is not None:
        figures = [
            {**server.summary(), "ofSqlite": server.of(file), "ofSqliteByRound": server.by_round(file)}
            for file, server in pairs
        ]
        write_report(
            json_file, {"machine": machine, "figures": [one.summary() for one, _ in pairs] + figures}
        )
        console.line(f"written to {json_file}")
    if failed := [one.failures for pair in pairs for one in pair if one.failures]:
        raise CommandError(f"orders were not accepted: {failed}")
