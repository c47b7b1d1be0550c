"""Check the model: `python -m tests.model.check [--full]`.

Prints a line for each configuration of docs/spec; exits 1 where one ended otherwise than expected, with TLC's
trace. Without Java or TLC's jar it says so and checks nothing.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from tests.model.checker import CheckerMissing, Finding, check, configurations


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.model.check", description=__doc__)
    parser.add_argument("--full", action="store_true", help="check the larger configurations too")
    full = parser.parse_args(arguments).full
    started = time.monotonic()
    surprises: list[Finding] = []
    _say("configuration", "expected", "found", "states", "steps", "seconds")
    try:
        for one in check(configurations(full=full)):
            surprises += [] if one.as_expected else [one]
            name, expected = one.configuration.name, one.configuration.expected
            _say(name, expected, one.found, f"{one.states:,}", str(one.steps), f"{one.seconds:.1f}")
    except CheckerMissing as missing:
        print(f"SKIPPED: the model was not checked. {missing}", file=sys.stderr)  # noqa: T201
        return 0
    for one in surprises:
        print(f"\n{one.configuration.name}: {one.found}\n{one.output}")  # noqa: T201
    print(f"{len(surprises)} surprises, {time.monotonic() - started:.0f} s")  # noqa: T201
    return 1 if surprises else 0


def _say(name: str, expected: str, found: str, *figures: str) -> None:
    line = f"{name:<32}{expected:<24}{found:<24}" + "".join(f"{figure:>10}" for figure in figures)
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
