"""Two thousand transactions with fifty planted faults, through a real stack and the command line."""

from pathlib import Path

from tests.backing import Backing
from tests.e2e.reconcile import reconcile
from tests.e2e.reconcile_plant import FAULTS

TRANSACTIONS = 2_000
PLANTED = 50


def test_every_planted_fault_is_found_and_what_may_be_repaired_is(tmp_path: Path, backing: Backing) -> None:
    report = reconcile(TRANSACTIONS, PLANTED, tmp_path / "data", backing, print)
    assert report.violations == []
    assert len(FAULTS) < PLANTED, "some kind was not planted"
    assert report.left < report.repaired < report.found
    assert report.rows > 4 * TRANSACTIONS
    assert report.peak_mib < 150
