"""Many dead letters replayed at a rate by a command that is killed on the way and run again.

    python -m tests.e2e.replays [--letters N] [--rate N] [--postgres]

It starts a fresh stack, decides to confirm as many transactions on a product under stocktake, so that every
Confirm becomes a letter, thaws it, has `handfast dlt replay` killed half-way and run again, and checks that
each letter was replayed once and each unit sold once, and no second had more replays than the rate (but for
the one in which the killed command and the next may meet). It exits 1 when anything is other than that.
"""

import argparse
import math
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

from cli.api import Api
from cli.console import Console
from cli.launcher import ROOT
from cli.stack import OwnStack, own_stack
from shared.clock import from_iso
from tests.backing import add_options, chosen
from tests.e2e.waiting import eventually

IN_FLIGHT: Final = 16
LONGEST: Final = 900.0
"""Seconds for whatever is waited for."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured. seconds: of replaying, both runs together; fastest: replays in the busiest second;
    memory: of the command at its largest, in MiB; wrong: what is other than it must be.
    """

    letters: int
    rate: float
    before_the_kill: int
    seconds: float
    fastest: int
    memory: float
    said: Sequence[str]
    wrong: Sequence[str]


class Scene:
    """A stack with one product on which every decided Confirm becomes a letter."""

    def __init__(self, stack: OwnStack, api: Api, product: str, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._api = api
        self._product = product
        self._say = say

    def play(self, letters: int, rate: float) -> Report:
        """Make the letters, replay them with a kill in between, and look what came of it."""
        transactions = self._fail(letters)
        began = time.monotonic()
        killed = self._replay_and_kill(letters, rate)
        before = self._count("SETTLED")
        self._say(f"killed after {before} of {letters}")
        ended = self._command(rate)
        seconds = time.monotonic() - began
        said = [line for line in ended.stderr.splitlines() if line.startswith("replaying")]
        wrong = (
            [] if ended.returncode == 0 else [f"the command ended with {ended.returncode}: {ended.stderr}"]
        )
        wrong += self._wrong(transactions)
        moments = self._replays(wrong, letters)
        # What was asked for just before the kill may be published beside what the next command asks for.
        met = range(killed, killed + 2)
        seconds_of = Counter(moment // 1000 for moment in moments if moment // 1000 not in met)
        fastest = max(seconds_of.values(), default=0)
        if fastest > math.ceil(rate):
            wrong.append(f"{fastest} replays in one second")
        if seconds < (1 - 0.2) * letters / rate:
            wrong.append(f"{letters} replays took no more than {seconds:.1f} s")
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        return Report(letters, rate, before, seconds, fastest, memory, said, wrong)

    def _fail(self, letters: int) -> list[str]:
        """Have so many decided Confirms become letters; return their transactions."""
        product = f"/products/{self._product}"
        self._api.send("PUT", "stock", product, {"onHand": letters})
        claim = {"productId": self._product, "qty": 1}
        branch = {"participant": "stock", "claim": claim, "key": self._product}
        wanted = {"mode": "manual", "timeoutSeconds": 3_600, "branches": [branch]}

        def tried(_: int) -> str:
            body = self._api.send("POST", "coordinator", "/transactions", wanted).body
            assert body is not None
            return str(body["transactionId"])

        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            transactions = list(pool.map(tried, range(letters)))
            self._api.send("PUT", "stock", product, {"frozen": True})
            confirm = partial(self._api.send, "PUT", "coordinator")
            list(pool.map(lambda one: confirm(f"/transactions/{one}"), transactions))
        eventually(lambda: self._count("OPEN") == letters, f"{letters} letters are kept", LONGEST)
        self._api.send("PUT", "stock", product, {"frozen": False})
        self._say(f"{letters} letters are kept")
        return transactions

    def _replay_and_kill(self, letters: int, rate: float) -> int:
        """Kill the command once half of the letters are applied; return the second in which that was."""
        running = subprocess.Popen(
            self._arguments(rate), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            eventually(lambda: self._count("SETTLED") >= letters // 2, "half of them are applied", LONGEST)
        finally:
            running.kill()
            running.wait()
        return int(time.time())

    def _command(self, rate: float) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self._arguments(rate),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=LONGEST,
            check=False,
        )

    def _arguments(self, rate: float) -> list[str]:
        offset = str(self._stack.settings.port_offset)
        chosen = ("--key", self._product, "--program", "stock", "--rate", str(rate))
        arguments = ("dlt", "replay", *chosen, "--why", "thawed", "--port-offset", offset)
        return [sys.executable, "-m", "cli.main", *arguments]

    def _count(self, state: str) -> int:
        groups = self._api.items("stock", "/dead-letters/groups", {"key": self._product})
        return sum(int(group["states"].get(state, 0)) for group in groups)

    def _wrong(self, transactions: Sequence[str]) -> list[str]:
        """Return what is other than it must be of the product and the transactions."""
        product = self._api.get("stock", f"/products/{self._product}")
        counts = (product["sold"], product["held"], product["onHand"])
        wrong = [] if counts == (len(transactions), 0, 0) else [f"sold, held, on hand are {counts}"]

        def is_confirmed(transaction: str) -> bool:
            state: str = self._api.get("coordinator", f"/transactions/{transaction}")["state"]
            return state == "CONFIRMED"

        def all_confirmed() -> bool:
            with ThreadPoolExecutor(IN_FLIGHT) as pool:
                return all(pool.map(is_confirmed, transactions))

        eventually(all_confirmed, "every transaction is CONFIRMED", LONGEST)
        return wrong

    def _replays(self, wrong: list[str], letters: int) -> list[int]:
        """Return the instants of all replays; each letter has one, and is settled."""
        mine = {
            view["letterId"]: view["state"]
            for view in self._api.items("stock", "/dead-letters", {"key": self._product})
        }
        if len(mine) != letters or set(mine.values()) != {"SETTLED"}:
            wrong.append(f"{len(mine)} letters are {Counter(mine.values())}")
        acts = [act for act in self._api.items("stock", "/dead-letters/history") if act["letterId"] in mine]
        often = Counter(act["letterId"] for act in acts)
        if set(often.values()) != {1} or len(often) != letters:
            wrong.append(f"letters by how often they were replayed: {Counter(often.values())}")
        return [from_iso(act["at"]) for act in acts]


def play(
    stack: OwnStack, letters: int, rate: float, product: str, say: Callable[[str], None] = lambda _: None
) -> Report:
    """Play it on a stack that is there. product: the name of one that isn't."""
    with Api(stack.settings) as api:
        return Scene(stack, api, product, say).play(letters, rate)


def main(given: Sequence[str] | None = None) -> int:
    """Play it on a stack of its own, and say what was measured."""
    parser = argparse.ArgumentParser(prog="replays", description="Replay many dead letters.")
    parser.add_argument("--letters", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=200.0)
    add_options(parser)
    arguments = parser.parse_args(given)
    console = Console()
    # One delivery is enough to give up here: what takes time is not the point.
    environment = {"HANDFAST_RETRY": "fixed:100ms,0"}
    with chosen(arguments) as backing, own_stack(environment=backing.environment() | environment) as stack:
        report = play(stack, arguments.letters, arguments.rate, "stocktake", console.line)
    for line in report.said[-3:]:
        console.line(line)
    console.line(
        f"{report.letters} letters at {report.rate:g}/s: {report.seconds:.1f} s with a kill after "
        f"{report.before_the_kill}, {report.letters / report.seconds:.0f}/s, at most {report.fastest} in a "
        f"second; the command took {report.memory:.0f} MiB"
    )
    for line in report.wrong or ("each was applied once",):
        console.line(line)
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
