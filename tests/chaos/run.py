"""Chaos on real processes: load, while processes are killed and connections break; then the checker.

    python -m tests.chaos.run [--seed N] [--minutes M | --short] [--postgres [--instances N]] [--json FILE]
                              [--write]

It exits 1 when anything is other than it must be, and then says how to run the same plan again.
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from tests.backing import add_options, chosen
from tests.chaos.aftermath import tail
from tests.chaos.chaos import Case, run_chaos
from tests.chaos.plan import SHORT, long_form
from tests.chaos.report import Report

SEED: Final = 20
MINUTES: Final = 5.0
SHOWN: Final = 20
LAST_LINES: Final = 15

HASTY: Final = {"HANDFAST_REPUBLISH_SECONDS": "1", "HANDFAST_REPUBLISH_MAX_SECONDS": "4"}
"""Settings of the short form: it has no time for the usual pauses."""


def short_case(seed: int, *, on_server: bool) -> Case:
    """Return the short form."""
    return Case(seed, SHORT, on_server, settings=HASTY, patience=60.0, heal_within=60.0)


def failure(report: Report, replay: str, logs: Path) -> str:
    """Say what is wrong, how to run the same plan again, and how the logs end."""
    violations = report.outcome.violations
    return "\n".join(
        [
            f"{len(violations)} violations with seed {report.case.seed}:",
            *(f"  {violation}" for violation in violations[:SHOWN]),
            "the plan:",
            *(f"  {trouble}" for trouble in report.case.plan),
            f"the same plan again (the timing of real processes differs each time): {replay}",
            tail(logs, LAST_LINES),
        ]
    )


def main() -> None:
    """Run one case as the command line says."""
    arguments = _arguments()
    if arguments.short:
        case, length = short_case(arguments.seed, on_server=arguments.postgres), "--short"
    else:
        case = Case(arguments.seed, long_form(arguments.minutes), arguments.postgres)
        length = f"--minutes {arguments.minutes:g}"
    case = replace(case, instances=arguments.instances)
    where = f" --postgres --instances {case.instances}" if arguments.postgres else ""
    replay = f"make chaos ARGS='--seed {case.seed} {length}{where}'"
    console = Console(highlight=False, markup=False, soft_wrap=True)
    scratch = Path(tempfile.mkdtemp(prefix="handfast-chaos-"))
    with chosen(arguments) as backing:
        report = Report(case, run_chaos(case, scratch, backing, console.print))
    for table in report.tables():
        console.print(table, soft_wrap=False)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report.json(), indent=2) + "\n", encoding="utf-8")
    console.print(f"report: {arguments.json}")
    if report.outcome.violations:
        console.print(failure(report, replay, scratch / "logs"))
        console.print(f"data and logs: {scratch}")
        sys.exit(1)
    shutil.rmtree(scratch)
    if arguments.write:
        report.write()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.run", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--seed", type=int, default=SEED, help="of the plan (default: %(default)s)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--minutes", type=_minutes, default=MINUTES, help="of troubles (default: %(default)s)"
    )
    length.add_argument("--short", action="store_true", help="the form that runs with the tests")
    parser.add_argument("--json", type=Path, default=Path("reports/chaos.json"), help="default: %(default)s")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/proof.md")
    parser.add_argument("--instances", type=int, default=1, help="of each program (default: %(default)s)")
    add_options(parser)
    arguments = parser.parse_args()
    if arguments.instances > 1 and not arguments.postgres:
        parser.error("several instances share a database: --postgres")
    if arguments.write and arguments.postgres and arguments.instances == 1:
        parser.error("--write takes the form on files, or that with several instances on PostgreSQL")
    return arguments


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0.5 <= minutes <= 24 * 60:
        raise argparse.ArgumentTypeError("between half a minute and a day")
    return minutes


if __name__ == "__main__":
    main()
