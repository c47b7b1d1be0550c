"""A shop's year through a real stack: every order must end as arithmetic on the same files says.

    python -m tests.e2e.jaffle [--orders N] [--seed S] [--in-flight N] [--postgres] [--report FILE]

It generates the orders, starts a fresh `handfast up`, puts in the products and accounts, sends the orders
over REST in the order of the files with many in flight, waits until all are settled, and checks every order,
product and account. It exits 1 when anything is other than planned.
"""

import argparse
import asyncio
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cli.stack import own_stack
from tests.backing import Backing, add_options, chosen
from tests.e2e.jaffle_run import Report, Urls, run_shop
from tests.e2e.jaffle_shop import Plan, read_orders

SEED: Final = 20
YEAR: Final = 365
IN_FLIGHT: Final = 32


def generate(directory: Path, seed: int, days: int) -> Path:
    """Run jafgen in a process of its own; return the directory of its files."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.e2e.jaffle_generate", str(seed), str(days)]
    home = str(Path(__file__).resolve().parents[2])
    run = subprocess.run(
        command,
        cwd=directory,
        env={"PYTHONPATH": home},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if run.returncode != 0:
        raise RuntimeError(f"jafgen failed: {run.stderr}")
    return directory / "jaffle-data"


def _run(arguments: argparse.Namespace, backing: Backing, console: Console) -> Report:
    """Run it, and leave the stack's data and logs behind where something is wrong."""
    scratch = Path(tempfile.mkdtemp(prefix="handfast-year-"))
    console.print(f"generating a year of the shop (some ten seconds) in {scratch}")
    plan = Plan.of(*read_orders(generate(scratch, arguments.seed, YEAR), arguments.orders))
    refused = len(plan.orders) - sum(outcome.confirmed for outcome in plan.outcomes)
    console.print(
        f"{len(plan.orders):,} orders, {len(plan.accounts):,} customers with an account, "
        f"{len(plan.names)} products; {refused:,} orders must be refused"
    )
    data = scratch / "data"
    with (
        own_stack(data_dir=data, environment=backing.environment(data)) as stack,
        _progress(console, len(plan.orders)) as advance,
    ):
        report = asyncio.run(run_shop(plan, Urls.of(stack.settings), arguments.in_flight, advance))
    if not report.violations:
        shutil.rmtree(scratch)
    return report


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[], None]]:
    """Show how many orders are done: a bar on a terminal, a line every tenth otherwise."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("orders", total=total)
            yield lambda: progress.advance(bar)
        return
    done = itertools.count(1)

    def advance() -> None:
        count = next(done)
        if count % max(1, total // 10) == 0:
            console.print(f"{count:,} of {total:,} orders")

    yield advance


def _show(report: Report, console: Console) -> None:
    table = Table("what", "how much", title="the year")
    table.add_row("machine", report.machine)
    table.add_row("orders", f"{report.orders:,}")
    table.add_row("confirmed", f"{report.confirmed:,}")
    for slug, count in sorted(Counter(report.refused).items()):
        table.add_row(f"refused: {slug}", f"{count:,}")
    table.add_row("answered in", f"{report.seconds:,.1f} s ({report.orders_per_second:,.0f} orders/s)")
    table.add_row("answer p50, p99", f"{report.p50_ms:,.1f} ms, {report.p99_ms:,.1f} ms")
    table.add_row("settled after", f"{report.settled_seconds:,.1f} s")
    table.add_row("sent again for an answer", f"{report.repeats:,}")
    table.add_row("other than planned", f"{len(report.violations):,}")
    console.print(table)
    for violation in report.violations[:20]:
        console.print(f"wrong: {violation}")


def main() -> None:
    """Run the year as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.e2e.jaffle", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--orders", type=int, help="only the first so many orders of the year")
    parser.add_argument("--seed", type=int, default=SEED, help="of the generated year (default: %(default)s)")
    parser.add_argument(
        "--in-flight", type=int, default=IN_FLIGHT, help="orders at once (default: %(default)s)"
    )
    parser.add_argument("--report", type=Path, default=Path("reports/year.json"), help="default: %(default)s")
    add_options(parser)
    arguments = parser.parse_args()
    console = Console()
    with chosen(arguments) as backing:
        report = _run(arguments, backing, console)
    _show(report, console)
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    console.print(f"report: {arguments.report}")
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
