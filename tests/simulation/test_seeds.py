"""The simulator on a hundred seeds, and what it promises of itself."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cli.launcher import ROOT
from tests.simulation import soak
from tests.simulation.ablations import ABLATIONS
from tests.simulation.conditions import Fault
from tests.simulation.plan import Trouble
from tests.simulation.run import Summary, run_seeds, telling
from tests.simulation.shrink import shrink
from tests.simulation.simulate import Case, Report, simulate

SEEDS = range(1, 101)
ORDERS = 50


def test_a_hundred_seeds_break_nothing() -> None:
    summary = Summary()
    for report in run_seeds(SEEDS, ORDERS):
        summary.add(report)
    assert [(one.case.seed, one.findings) for one in summary.failures] == []
    assert summary.orders >= 0.8 * len(SEEDS) * ORDERS
    assert [fault for fault in Fault if summary.struck[fault] < len(SEEDS) / 4] == []


@pytest.mark.parametrize("strategy", ["optimistic", "pessimistic", "queue"])
def test_a_history_breaks_nothing_however_stock_is_held(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFAST_STOCK_STRATEGY", strategy)
    assert simulate(Case(101, 30)).findings == ()


def test_the_same_seed_gives_the_same_history() -> None:
    digests = {_history_in_a_process_of_its_own(hashes) for hashes in ("0", "0", "1")}
    assert len(digests) == 1


def test_another_seed_gives_another_history() -> None:
    one, other = simulate(Case(5, 10)), simulate(Case(6, 10))
    assert one.digest != other.digest
    assert one.case.plan != other.case.plan


@pytest.mark.parametrize("name", ["fence first", "initiator settles last", "one open branch a participant"])
def test_a_safeguard_that_is_switched_off_is_missed(name: str) -> None:
    [ablation] = [one for one in ABLATIONS if one.name == name]
    with ablation.patch():
        report = next(report for seed in SEEDS if (report := simulate(Case(seed, ORDERS))).findings)
    assert simulate(report.case).findings == ()


def test_every_ablation_has_a_name_of_its_own() -> None:
    assert len({one.name for one in ABLATIONS}) == len(ABLATIONS) >= 20


def test_a_failure_is_shrunk_to_what_it_takes() -> None:
    """Of many troubles one is to blame, and nine orders are needed."""
    culprit = Trouble(Fault.CRASH, 3.0, 1.0, "stock")
    plan = (*(Trouble(Fault.DROP, float(at), 1.0, "order", "coordinator") for at in range(20)), culprit)

    def run(case: Case) -> Report:
        assert case.plan is not None
        broken = culprit in case.plan and case.orders >= 9
        findings = ("[stock adds up] product p: too few",) if broken else ()
        return Report(case, findings, case.orders, {}, "", 0.0)

    smallest = shrink(run(Case(1, 50, plan)), run)
    assert smallest.case == replace(Case(1, 12), plan=(culprit,))


def test_what_is_told_of_a_failure_is_what_concerns_it() -> None:
    lines = (
        "0.0 stock starts its life 1",
        "1.0 customer->order POST /api/v1/orders (order-1) 201",
        "1.1 order->coordinator POST /api/v1/transactions (01JXT22VYDS39T1DBDEVBMDF14) 201",
        "2.0 customer->order POST /api/v1/orders (order-2) 201",
        "3.0 stock crashes",
    )
    finding = "[no mixed outcome] transaction 01JXT22VYDS39T1DBDEVBMDF14 and order order-1"
    report = Report(Case(1), (finding,), 2, {}, "", 0.0, lines)
    assert list(telling(report)) == [*lines[:3], lines[4]]


def test_the_command_finds_nothing_and_says_what_it_did(tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    ended = _run("--seeds", "1-2", "--orders", "10", "--json", str(summary))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 seeds failed" in ended.stdout
    assert json.loads(summary.read_text())["seeds"] == 2


def test_the_command_tells_a_history() -> None:
    ended = _run("--seed", "3", "--orders", "5", "--trace")
    assert ended.returncode == 0
    assert "coordinator starts its life 1" in ended.stdout
    assert "customer->order POST /api/v1/orders" in ended.stdout


def _history_in_a_process_of_its_own(hashes: str) -> str:
    ended = _run("--seed", "11", "--orders", "20", PYTHONHASHSEED=hashes)
    return ended.stdout.splitlines()[0].rpartition(" ")[2]


def _run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation.run", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_soak_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def run(seeds: range, orders: int) -> list[Report]:
        asked.extend(seeds)
        return [Report(Case(seed, orders), (), orders, {Fault.DROP: 1}, "", 0.0) for seed in seeds]

    monkeypatch.setattr(soak, "run_seeds", run)
    for orders in ("1000", "2000"):
        assert soak.main(["--orders", orders, "--dir", str(tmp_path)]) == 0
    assert asked == list(range(soak.FIRST_SEED, soak.FIRST_SEED + 40))
    assert "2000 orders" in (tmp_path / "report.txt").read_text()


def test_a_soak_that_found_something_says_how_to_replay_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = "[stock adds up] product p: too few"
    monkeypatch.setattr(
        soak,
        "run_seeds",
        lambda seeds, orders: [Report(Case(seeds[0], orders), (finding,), orders, {}, "", 0.0)],
    )
    assert soak.main(["--orders", "10", "--dir", str(tmp_path)]) == 1
    report = (tmp_path / "report.txt").read_text()
    assert f"handfast sim --seed {soak.FIRST_SEED} --orders 50" in report
    assert finding in report
