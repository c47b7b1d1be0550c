"""`handfast bench stuck`: orders beside transactions that one participant keeps from ending."""

from pathlib import Path
from typing import Annotated

import typer

from cli.bench.figures import COLUMNS, row
from cli.bench.run import write_report
from cli.bench.stuck import measure
from cli.console import Console
from cli.machine import describe
from cli.options import load_settings
from cli.outcome import CommandError


def stuck(
    transactions: Annotated[int, typer.Option(min=2, help="Transactions that are stuck.")] = 1_000,
    orders: Annotated[int, typer.Option(min=1, help="Orders on either stack.")] = 3_000,
    in_flight: Annotated[int, typer.Option(min=1, help="Orders in flight.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, of either stack in turn.")] = 3,
    silence: Annotated[
        float, typer.Option(min=0, help="Seconds for which the participant answers nobody, at least.")
    ] = 60.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report to this file.")] = None,
) -> None:
    """Stick transactions on a participant that answers nobody: what do orders notice that don't touch it?

    On the PostgreSQL of HANDFAST_DATABASE_URL where that is set, otherwise on SQLite.
    """
    url = load_settings().database_url
    environment = {} if url is None else {"HANDFAST_DATABASE_URL": url.get_secret_value()}
    console = Console()
    machine = describe()
    console.line(", ".join(f"{name} {value}" for name, value in machine.items()))
    measured = measure(transactions, orders, in_flight, rounds, silence, environment, console.note)
    console.line()
    lines = [row(measured.alone, None), row(measured.beside, measured.alone)]
    console.table((*COLUMNS[:-1], "of alone"), lines, heading=True)
    console.line(
        f"{transactions} stuck for {measured.silence:.0f} s were settled {measured.settled:.1f} s after the "
        "first answer, each as it was decided"
    )
    if json_file is not None:
        report = {"machine": machine, "database": "SQLite" if url is None else "PostgreSQL"}
        write_report(json_file, {**report, **measured.summary()})
        console.line(f"written to {json_file}")
    if failed := measured.alone.failures | measured.beside.failures:
        raise CommandError(f"orders were not accepted: {failed}")
