"""Check the model: `python -m tests.model.check [--full] [--write]`.

Prints a line for each configuration of docs/spec; exits 1 where one ended otherwise than expected, with TLC's
trace. Without Java or TLC's jar it says so and checks nothing. --write puts the table into the README there.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Final

from tests.model.checker import SPEC, CheckerMissing, Finding, check, configurations
from tests.proof_page import put_between

PAGE: Final = SPEC / "README.md"
BEGIN: Final = "<!-- results: written by `python -m tests.model.check --write` -->"
END: Final = "<!-- end of the results -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.model.check", description=__doc__)
    parser.add_argument("--full", action="store_true", help="check the larger configurations too")
    parser.add_argument("--write", action="store_true", help="check all, and write the table of the README")
    chosen = parser.parse_args(arguments)
    full = chosen.full or chosen.write
    started = time.monotonic()
    findings: list[Finding] = []
    _say("configuration", "expected", "found", "states", "steps", "seconds")
    try:
        for one in check(configurations(full=full)):
            findings.append(one)
            name, expected = one.configuration.name, one.configuration.expected
            _say(name, expected, one.found, f"{one.states:,}", str(one.steps), f"{one.seconds:.1f}")
    except CheckerMissing as missing:
        print(f"SKIPPED: the model was not checked. {missing}", file=sys.stderr)  # noqa: T201
        return 0
    if chosen.write:
        put_between(BEGIN, END, table(findings), PAGE)
    surprises = [one for one in findings if not one.as_expected]
    for one in surprises:
        print(f"\n{one.configuration.name}: {one.found}\n{one.output}")  # noqa: T201
    print(f"{len(surprises)} surprises, {time.monotonic() - started:.0f} s")  # noqa: T201
    return 1 if surprises else 0


def table(findings: Sequence[Finding]) -> str:
    """Return the table of the README."""
    lines = [
        "| configuration | what | ends with | states | steps | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for one in findings:
        name, about = one.configuration.name, one.configuration.about
        steps = str(one.steps) if one.steps else ""
        lines.append(f"| `{name}` | {about} | {one.found} | {one.states:,} | {steps} | {one.seconds:.0f} |")
    return "\n".join(lines)


def _say(name: str, expected: str, found: str, *figures: str) -> None:
    line = f"{name:<32}{expected:<24}{found:<24}" + "".join(f"{figure:>10}" for figure in figures)
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
