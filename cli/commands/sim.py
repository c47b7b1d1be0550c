"""`handfast sim`: the whole system on virtual time, with faults drawn from a seed."""

import os
import subprocess
import sys
from typing import Annotated

import typer

from cli.launcher import ROOT
from cli.outcome import CommandError, Exit, Usage

SIMULATOR = "tests.simulation.run"


def sim(
    seed: Annotated[
        int | None, typer.Option(min=0, help="One seed: its troubles and what was found.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Many seeds: a range, with a summary.")] = "1-20",
    orders: Annotated[int, typer.Option(min=1, help="Orders in each simulated history.")] = 50,
    trace: Annotated[bool, typer.Option(help="Print the whole history of the one seed.")] = False,
    shrink: Annotated[bool, typer.Option(help="Look for the smallest part of the seed that fails.")] = False,
) -> None:
    """Simulate coordinator, services, broker and network with faults, and check the invariants.

    The same seed gives the same history, byte for byte. Exits 1 where an invariant is broken.
    """
    if not (ROOT / "tests" / "simulation").is_dir():
        raise CommandError("the simulator comes with the source: run this from a clone, after `make setup`")
    if seed is None and (trace or shrink):
        raise Usage("--trace and --shrink are about one seed: give it with --seed")
    which = ["--seeds", seeds] if seed is None else ["--seed", str(seed)]
    flags = [name for name, wanted in (("--trace", trace), ("--shrink", shrink)) if wanted]
    command = [sys.executable, "-P", "-m", SIMULATOR, *which, "--orders", str(orders), *flags]
    search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": search, "PYTHONHASHSEED": "0"}
    ended = subprocess.run(command, env=environment, check=False)  # noqa: S603 - our own program
    if ended.returncode != 0:
        raise typer.Exit(Exit.USAGE if ended.returncode == Exit.USAGE else Exit.FAILED)
