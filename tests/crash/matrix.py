"""The crash matrix on real processes: `python -m tests.crash.matrix`.

On one stack, case after case: at the crash point the process is killed by SIGKILL, what is durable is looked
at while it lies dead, and once it may come back everything must become final, as required. Exit code 1 where
anything is not.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.backing import Backing, add_options, chosen
from tests.crash.cases import CASES, Case
from tests.crash.rehearse import Result, rehearse
from tests.crash.report import line_of, summary_of, write_json, write_section
from tests.crash.stage import set_up


async def play(
    cases: Sequence[Case],
    directory: Path,
    backing: Backing,
    *,
    hasty: bool = False,
    instances: int = 1,
    say: Callable[[Result], None],
) -> list[Result]:
    """Play cases one after the other on one stage whose logs, and files of data, lie in a directory.

    hasty: with shorter patience, leases and back-off than the defaults; instances: of each program.
    """
    results = []
    async with set_up(directory, backing, hasty=hasty, instances=instances) as stage:
        for case in cases:
            results.append(await rehearse(stage, case))
            say(results[-1])
    return results


def main() -> int:
    arguments = _arguments()
    cases = [case for case in CASES if not arguments.only or case.name in arguments.only]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="handfast-crash-") as scratch, chosen(arguments) as backing:
        directory = arguments.keep or Path(scratch)
        how = {"hasty": arguments.hasty, "instances": arguments.instances}
        results = asyncio.run(play(cases, directory, backing, **how, say=lambda one: _say(line_of(one))))
    took = time.monotonic() - began
    _say(summary_of(results, took))
    if arguments.report:
        write_json(arguments.report, results, took)
    if arguments.write:
        write_section(results, taken_over=arguments.instances > 1)
    return 1 if any(not result.passed for result in results) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.matrix", description=__doc__)
    names = ", ".join(case.name for case in CASES)
    parser.add_argument("only", nargs="*", metavar="CASE", help=f"play these only; there are: {names}")
    parser.add_argument("--report", type=Path, help="write the report as JSON to this file")
    parser.add_argument("--write", action="store_true", help="write the table into docs/proof.md")
    parser.add_argument("--hasty", action="store_true", help="don't wait as long as the defaults do")
    parser.add_argument("--keep", type=Path, help="keep data and logs in this directory")
    parser.add_argument("--instances", type=int, default=1, help="of each program (default: %(default)s)")
    add_options(parser)
    arguments = parser.parse_args()
    if arguments.instances > 1 and not arguments.postgres:
        parser.error("several instances share a database: --postgres")
    if unknown := set(arguments.only) - {case.name for case in CASES}:
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    if arguments.write and arguments.only:
        parser.error("--write takes the whole matrix")
    if arguments.write and arguments.postgres and arguments.instances == 1:
        parser.error("--write takes the matrix on files, or that with two instances on PostgreSQL")
    return arguments


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
