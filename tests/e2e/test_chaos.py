"""The short form of `make chaos`: everything goes wrong on real processes, and all ends as it must."""

from pathlib import Path
from typing import Final

from tests.backing import Backing
from tests.chaos.chaos import run_chaos
from tests.chaos.plan import Kind
from tests.chaos.report import Report
from tests.chaos.run import failure, short_case

SEED: Final = 1929
"""Of a plan in which connections misbehave while those at their ends are there to notice."""


def test_everything_heals_after_chaos(tmp_path: Path, backing: Backing) -> None:
    case = short_case(SEED, on_server=backing.database is not None)
    report = Report(case, run_chaos(case, tmp_path, backing, lambda _: None))
    outcome = report.outcome
    replay = f"make chaos ARGS='--short --seed {SEED}{' --postgres' if case.on_server else ''}'"
    assert not outcome.violations, failure(report, replay, tmp_path / "logs")
    # It proves little unless every kind of trouble struck, much was ordered, and answers were lost.
    assert set(outcome.struck) == set(Kind), outcome
    assert outcome.whole_pauses > 0, outcome
    assert outcome.orders >= 50, outcome
    assert outcome.confirmed >= outcome.orders / 3, outcome
    assert outcome.repeats > 0, outcome
