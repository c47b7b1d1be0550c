"""A reconciliation over many transactions with planted faults: all are found, and repaired where that may be.

    python -m tests.e2e.reconcile [--transactions N] [--faults N] [--report FILE] [--postgres]

It plants the databases of a stack, starts it, and runs `handfast reconcile` as a user does: first dry, then
in earnest, then again. It checks what was found against what was planted, that nothing else was touched, and
that the last run finds only what a person has to look at. It exits 1 when anything is other than planned.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from cli.launcher import ROOT
from cli.machine import describe
from cli.stack import OwnStack, own_stack
from shared.settings import database_place
from tests.backing import Backing, add_options, chosen
from tests.e2e.reconcile_plant import Books, Expected, draw, plant
from tests.stores import rows_of

TRANSACTIONS: Final = 100_000
FAULTS: Final = 500
ENDS: Final = {
    "coordinator": ("SELECT id, state FROM tcc_transaction",),
    "order": ("SELECT id, state FROM reservation", "SELECT transaction_id, status FROM orders"),
    "stock": ("SELECT id, state FROM reservation",),
    "payment": ("SELECT id, state FROM reservation", "SELECT payment_id, amount FROM capture"),
}
"""Where every row's key begins with the id of its transaction."""
MOVING: Final = frozenset({"TRIED", "CONFIRMING", "CANCELLING"})
STACK: Final = {"HANDFAST_RECONCILE_SECONDS": "0"}


@dataclass
class Report:
    """How it went. seconds: of each run; peak_mib: the most memory that the coordinator ever had."""

    machine: dict[str, Any]
    transactions: int
    faults: int
    found: int = 0
    repaired: int = 0
    left: int = 0
    rows: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mib: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


def reconcile(
    transactions: int, faults: int, directory: Path, backing: Backing, say: Callable[[str], None]
) -> Report:
    """Plant, reconcile three times, and compare; return what came of it."""
    books = draw(transactions, faults)
    report = Report(describe(), transactions, faults)
    say(f"planting {transactions:,} transactions and {faults} faults in {directory}")
    plant(books, lambda program: backing.place(program, directory))
    with own_stack(data_dir=directory, environment=STACK | backing.environment(directory)) as stack:
        before = _ends(stack)
        dry = _run(stack, report, "dry", say, "--dry-run")
        if _ends(stack) != before:
            report.violations.append("a dry run changed something")
        first = _run(stack, report, "first", say)
        after = _settled(stack)
        second = _run(stack, report, "second", say)
        if _ends(stack) != after:
            report.violations.append("the second run changed something")
        report.peak_mib = _peak_mib(stack.pid("coordinator"))
    report.found, report.repaired, report.rows = first["found"], first["repaired"], first["read"]
    report.left = second["found"]
    report.kinds = dict(sorted(Counter(one["kind"] for one in first["findings"]).items()))
    report.violations += [*_compare(books, dry, first, second), *_touched(books, before, after)]
    return report


def _run(
    stack: OwnStack, report: Report, name: str, say: Callable[[str], None], *options: str
) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "cli.main", "reconcile", "--json", *options]
    offset = str(stack.settings.port_offset)
    began = time.monotonic()
    ended = subprocess.run(
        [*command, "--port-offset", offset],
        cwd="/",
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    report.seconds[name] = round(time.monotonic() - began, 2)
    if not ended.stdout:
        raise RuntimeError(f"handfast reconcile ended {ended.returncode}: {ended.stderr}")
    run: dict[str, Any] = json.loads(ended.stdout)
    say(f"{name}: {run['found']} findings, {run['repaired']} repaired, in {report.seconds[name]} s")
    expected = 1 if run["found"] > run["repaired"] else 0
    if ended.returncode != expected:
        report.violations.append(f"the {name} run exited {ended.returncode} instead of {expected}")
    return run


def _compare(books: Books, *runs: dict[str, Any]) -> list[str]:
    """Return where the runs (dry, first, second) found or repaired something else than was planted."""
    persons = {one for one in books.expected if not one.repaired}
    wanted = (
        {one._replace(repaired=False) for one in books.expected},
        books.expected,
        persons,
    )
    violations = []
    for name, run, due in zip(("dry", "first", "second"), runs, wanted, strict=True):
        found = {
            Expected(one["participant"], one["kind"], one["subject"], one["repaired"])
            for one in run["findings"]
        }
        if len(found) != len(run["findings"]):
            violations.append(f"the {name} run found something twice")
        violations += [f"the {name} run missed {one}" for one in sorted(due - found)]
        violations += [f"the {name} run found {one}" for one in sorted(found - due)]
        violations += [f"the {name} run: {problem}" for problem in run["problems"]]
    return violations


def _touched(books: Books, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the rows that changed and belong to no fault."""
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    foreign = {key for key in changed if key.partition(" ")[2][:26] not in books.touched}
    return [f"{key} was {before.get(key)} and is {after.get(key)}" for key in sorted(foreign)]


def _ends(stack: OwnStack) -> dict[str, Any]:
    """Return how every transaction, order, reservation and capture stands, by where it is and its key."""
    ends = {}
    for program, queries in ENDS.items():
        place = database_place(stack.settings, program)
        for query in queries:
            where = f"{program}.{query.split()[-1]}"
            ends.update({f"{where} {key}": value for key, value in rows_of(place, query)})
    return ends


def _settled(stack: OwnStack) -> dict[str, Any]:
    """Return the same once whatever was set in motion has ended; after a while, as it is."""
    until = time.monotonic() + 20
    while True:
        ends = _ends(stack)
        moving = [key for key, value in ends.items() if value in MOVING and not key.startswith("coordinator")]
        if not moving or time.monotonic() > until:
            return ends
        time.sleep(0.2)


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    peak = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), "0")
    return round(int(peak) / 1024, 1)


def _show(report: Report, console: Console) -> None:
    table = Table("what", "how much", title="reconciliation")
    table.add_row("transactions, planted faults", f"{report.transactions:,}, {report.faults}")
    table.add_row("rows compared", f"{report.rows:,}")
    table.add_row("found, repaired, left", f"{report.found}, {report.repaired}, {report.left}")
    for name, seconds in report.seconds.items():
        table.add_row(f"{name} run", f"{seconds:.1f} s")
    table.add_row("coordinator's peak memory", f"{report.peak_mib:.0f} MiB")
    table.add_row("other than planned", f"{len(report.violations):,}")
    console.print(table)
    for violation in report.violations[:20]:
        console.print(f"wrong: {violation}")


def main() -> None:
    """Run it as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.e2e.reconcile", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--transactions", type=int, default=TRANSACTIONS, help="default: %(default)s")
    parser.add_argument("--faults", type=int, default=FAULTS, help="default: %(default)s")
    parser.add_argument(
        "--report", type=Path, default=Path("reports/reconcile.json"), help="default: %(default)s"
    )
    add_options(parser)
    arguments = parser.parse_args()
    console = Console()
    scratch = Path(tempfile.mkdtemp(prefix="handfast-reconcile-"))
    with chosen(arguments) as backing:
        report = reconcile(arguments.transactions, arguments.faults, scratch / "data", backing, console.print)
    _show(report, console)
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    console.print(f"report: {arguments.report}")
    if not report.violations:
        shutil.rmtree(scratch)
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
