"""A shop's year through a real stack: every order must end as arithmetic on the same files says.

    python -m tests.e2e.jaffle [--orders N] [--seed S] [--in-flight N] [--report FILE]

It generates the orders, starts a fresh `handfast up`, puts in the products and accounts, sends the orders
over REST in the order of the files with many in flight, waits until all are settled, and checks every order,
product and account. It exits 1 when anything is other than planned.
"""

import argparse
import asyncio
import json
import random
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from shared.settings import BROKER_PORT, PORTS
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


@asynccontextmanager
async def fresh_stack(directory: Path) -> AsyncIterator[Urls]:
    """Start `handfast up` on free ports with a data directory of its own; stop it at the end."""
    offset = free_offset()
    command = [
        *(sys.executable, "-m", "cli.main", "up"),
        *("--data-dir", str(directory / "data"), "--port-offset", str(offset)),
    ]
    with (directory / "up.log").open("wb") as log:
        up = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log)
        assert up.stdout is not None
        try:
            async with asyncio.timeout(60):
                while (line := await up.stdout.readline()).strip() != b"ready":
                    if not line:
                        raise RuntimeError(f"handfast up ended: {(directory / 'up.log').read_text()}")
            rest = asyncio.create_task(up.stdout.read())
            yield Urls.at(offset)
            rest.cancel()
        finally:
            if up.returncode is None:
                up.terminate()
                await asyncio.wait_for(up.wait(), 20)


def free_offset() -> int:
    """Return a port offset under which nothing listens."""
    for offset in random.Random().sample(range(1_000, 20_000), 200):
        try:
            for port in (*PORTS.values(), BROKER_PORT):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return offset
    raise RuntimeError("no free ports")


async def _main(arguments: argparse.Namespace, console: Console) -> Report:
    with tempfile.TemporaryDirectory(prefix="handfast-year-") as scratch:
        console.print("generating a year of the shop (some ten seconds)")
        data = await asyncio.to_thread(generate, Path(scratch), arguments.seed, YEAR)
        plan = Plan.of(*read_orders(data, arguments.orders))
        refused = len(plan.orders) - sum(outcome.confirmed for outcome in plan.outcomes)
        console.print(
            f"{len(plan.orders):,} orders of {len(plan.accounts):,} customers with an account, "
            f"{len(plan.names)} products; {refused:,} must be refused"
        )
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        async with fresh_stack(Path(scratch)) as urls:
            with Progress(*columns, console=console) as progress:
                bar = progress.add_task("orders", total=len(plan.orders))
                return await run_shop(plan, urls, arguments.in_flight, lambda: progress.advance(bar))


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
    arguments = parser.parse_args()
    console = Console()
    report = asyncio.run(_main(arguments, console))
    _show(report, console)
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    console.print(f"report: {arguments.report}")
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
