"""`handfast bench`: how fast it is, beside a baseline that keeps nothing safe, in the same run.

By itself it measures whole orders. Each of its subcommands measures one part, in a module of its own.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.bench.figures import COLUMNS, Figures, row
from cli.bench.memory import curve
from cli.bench.run import compare, write_report
from cli.commands.bench_contention import contention
from cli.commands.bench_databases import databases
from cli.commands.bench_drops import drops
from cli.commands.bench_instances import instances
from cli.commands.bench_stuck import stuck
from cli.console import Console
from cli.machine import describe
from cli.options import levels
from cli.outcome import CommandError, Usage

bench = typer.Typer()
bench.command()(contention)
bench.command()(drops)
bench.command()(databases)
bench.command()(instances)
bench.command()(stuck)


@bench.callback(invoke_without_command=True)
def orders_per_second(
    context: typer.Context,
    orders: Annotated[int, typer.Option(min=1, help="Orders at each level.")] = 3_000,
    in_flight: Annotated[str, typer.Option(help="Levels: how many orders are in flight.")] = "1,32,128",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds at each level, raw and Handfast in turn.")] = 3,
    memory: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Instead: memory and throughput over N orders.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report to this file.")] = None,
) -> None:
    """Measure orders per second, latency and CPU per order on a stack of its own, beside the raw baseline."""
    if context.invoked_subcommand is not None:
        _refuse_options_of(context)
        return
    console = Console()
    report: dict[str, Any] = {"machine": describe()}
    console.line(", ".join(f"{name} {value}" for name, value in report["machine"].items()))
    if memory is not None:
        report["memory"] = _memory(console, memory)
    else:
        report["figures"], failed = _speed(console, levels(in_flight), orders, rounds)
    if json_file is not None:
        write_report(json_file, report)
        console.line(f"written to {json_file}")
    if memory is None and failed:
        raise CommandError(f"orders were not accepted: {failed}")


def _speed(
    console: Console, in_flight: list[int], orders: int, rounds: int
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    raw, own = compare(in_flight, orders, rounds, console.note)
    pairs: list[tuple[Figures, Figures | None]] = []
    for baseline, mine in zip(raw, own, strict=True):
        pairs += [(baseline, None), (mine, baseline)]
    console.line()
    console.table(COLUMNS, [row(figures, baseline) for figures, baseline in pairs], heading=True)
    console.line("every accepted order is CONFIRMED")
    summaries = []
    failed: dict[str, int] = {}
    for figures, beside in pairs:
        compared = (
            {} if beside is None else {"ofRaw": figures.of(beside), "ofRawByRound": figures.by_round(beside)}
        )
        summaries.append(figures.summary() | compared)
        failed |= figures.failures
    return summaries, failed


def _memory(console: Console, orders: int) -> list[dict[str, Any]]:
    steps = curve(orders, console.note)
    names = list(steps[0].memory)
    console.line()
    console.table(
        ("orders", "orders/s", *(f"{name} MiB" for name in names)),
        [(step.orders, round(step.rate), *(step.memory.get(name) for name in names)) for step in steps],
        heading=True,
    )
    return [step.summary() for step in steps]


def _refuse_options_of(context: typer.Context) -> None:
    """Refuse options that stand before a subcommand: they would say nothing to it."""
    sources = (context.get_parameter_source(name) for name in context.params)
    if any(source is not None and source.name == "COMMANDLINE" for source in sources):
        raise Usage(f"options of `bench {context.invoked_subcommand}` go after its name")
