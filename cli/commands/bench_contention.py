"""`handfast bench contention`: ways of deciding a hold when many want the same product, side by side."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cli.bench.contention import COLUMNS, OLD, Cell, measure, row
from cli.bench.plot import NoPlot, Panel, draw_png, draw_text
from cli.bench.run import write_report
from cli.console import Console
from cli.machine import describe
from cli.options import levels


def contention(
    in_flight: Annotated[str, typer.Option(help="Levels: how many orders are in flight.")] = "1,8,64,128",
    products: Annotated[str, typer.Option(help="Over how many products the orders go.")] = "1,1000",
    seconds: Annotated[float, typer.Option(min=0.05, help="Seconds of each system in each round.")] = 1.0,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds at each level, all systems in turn.")] = 3,
    old_pause: Annotated[
        float, typer.Option(min=0.0, help="Seconds between two transactions of the old design.")
    ] = 0.25,
    plot: Annotated[Path | None, typer.Option(help="Draw the plot into this PNG file.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report to this file.")] = None,
) -> None:
    """Hold one hot product, and a thousand, by every strategy and by the lock-and-batch design before them.

    Exits 1 where one unit too many was held.
    """
    console = Console()
    machine = describe()
    console.line(", ".join(f"{name} {value}" for name, value in machine.items()))
    how_many = levels(products, "--products")
    cells = measure(levels(in_flight), how_many, seconds, rounds, old_pause, console.note)
    console.line()
    console.table(COLUMNS, [row(cell) for cell in cells], heading=True)
    console.line(f"{OLD}: batches of up to 100, {old_pause:g} s between two")
    console.line("not one unit too many was held")
    panels = [panel for number in how_many for panel in _panels(cells, number)]
    _draw(console, panels, plot)
    if json_file is not None:
        report = {"machine": machine, "oldPauseSeconds": old_pause, "cells": [one.summary() for one in cells]}
        write_report(json_file, report)
        console.line(f"written to {json_file}")


def _panels(cells: list[Cell], products: int) -> list[Panel]:
    where = "one product" if products == 1 else f"{products} products"
    measured = [cell for cell in cells if cell.products == products]
    rate = _curves(measured, lambda cell: cell.figures.rate)
    p99 = _curves(measured, lambda cell: cell.p99 or 0.0)
    return [
        Panel(f"Holds, {where}", "in flight", "orders/s", rate),
        Panel(f"p99, {where}", "in flight", "ms", p99),
    ]


def _curves(cells: list[Cell], value: Callable[[Cell], float]) -> dict[str, list[tuple[float, float]]]:
    curves: dict[str, list[tuple[float, float]]] = {}
    for cell in cells:
        curves.setdefault(cell.figures.system, []).append((cell.figures.in_flight, value(cell)))
    return curves


def _draw(console: Console, panels: list[Panel], png: Path | None) -> None:
    """Draw on a terminal, and into the file that was asked for; what can't be drawn is said."""
    try:
        if console.interactive:
            for panel in panels:
                console.line(draw_text(panel))
        if png is not None:
            draw_png(panels, png)
            console.line(f"drawn to {png}")
    except NoPlot as missing:
        console.note(str(missing))
