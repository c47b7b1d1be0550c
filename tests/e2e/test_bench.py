"""`handfast bench` in its shortest form: that it measures, checks and reports, not how fast it is."""

import json
from pathlib import Path

from cli.bench.drops import DATABASE, Crowd, measure
from tests.e2e.conftest import handfast


def test_the_bench_reports_both_systems_at_each_level(tmp_path: Path) -> None:
    report = tmp_path / "reports" / "bench.json"
    ended = handfast(
        *("bench", "--orders", "60", "--in-flight", "1,8", "--rounds", "2", "--json", str(report)),
        seconds=180,
    )
    assert ended.code == 0, ended.out + ended.err
    assert "every accepted order is CONFIRMED" in ended.out
    written = json.loads(report.read_text())
    assert written["machine"]["cores"] >= 1
    measured = {(figures["system"], figures["inFlight"]): figures for figures in written["figures"]}
    assert set(measured) == {("raw", 1), ("handfast", 1), ("raw", 8), ("handfast", 8)}
    for (system, _), figures in measured.items():
        assert figures["orders"] == 60
        assert figures["ordersPerSecond"] > 0
        assert figures["p99Ms"] >= figures["p50Ms"] > 0
        assert figures["cpuMicrosecondsPerOrder"] > 0
        assert figures["failures"] == {}
        assert (figures["acceptedToConfirmedP50Ms"] is None) == (system == "raw")


def test_the_memory_mode_reports_a_curve(tmp_path: Path) -> None:
    report = tmp_path / "memory.json"
    ended = handfast("bench", "--memory", "40", "--json", str(report), seconds=180)
    assert ended.code == 0, ended.out + ended.err
    steps = json.loads(report.read_text())["memory"]
    assert [step["orders"] for step in steps] == list(range(2, 41, 2))
    assert all(step["residentMib"]["coordinator"] > 10 for step in steps)


def test_the_ways_of_holding_stock_are_compared_and_none_sells_one_unit_too_many(tmp_path: Path) -> None:
    report, plot = tmp_path / "contention.json", tmp_path / "plots" / "contention.png"
    ended = handfast(
        *("bench", "contention", "--in-flight", "1,8", "--products", "1,5", "--seconds", "0.05"),
        *("--rounds", "1", "--old-pause", "0.01", "--json", str(report), "--plot", str(plot)),
        seconds=120,
    )
    assert ended.code == 0, ended.out + ended.err
    assert "not one unit too many was held" in ended.out
    assert plot.read_bytes().startswith(b"\x89PNG")
    cells = json.loads(report.read_text())["cells"]
    assert {(cell["products"], cell["inFlight"]) for cell in cells} == {(1, 1), (1, 8), (5, 1), (5, 8)}
    for cell in cells:
        assert cell["ordersPerSecond"] > 0
        assert cell["p99Ms"] >= cell["p50Ms"] > 0
        assert (cell["timesOld"] is None) == (cell["system"] == "lock-and-batch")
    assert {cell["system"] for cell in cells} == {
        *("lock-and-batch", "atomic", "optimistic", "pessimistic", "queue")
    }
    assert all(cell["retries"] == 0 for cell in cells if cell["system"] != "optimistic")


def test_the_bench_of_drops_checks_every_promise_and_reports_both_systems() -> None:
    said: list[str] = []
    (one,) = measure(Crowd(units=20, claims=100, customers=60, in_flight=8), 1, [DATABASE], said.append)
    told = one.summary()
    assert (told["gate"], told["claims"], told["failures"]) == ("database", 100, {})
    assert sum(told["refused"].values()) == 80
    assert told["claimsPerSecond"] > 0
    assert told["postsPerSecond"] > 0
    assert any("round 1 of 1" in line for line in said)


def test_stuck_transactions_are_settled_as_they_were_decided_and_cost_is_reported(tmp_path: Path) -> None:
    report = tmp_path / "stuck.json"
    ended = handfast(
        *("bench", "stuck", "--transactions", "20", "--orders", "40", "--rounds", "1", "--silence", "0"),
        *("--json", str(report)),
        seconds=180,
    )
    assert ended.code == 0, ended.out + ended.err
    assert "each as it was decided" in ended.out
    told = json.loads(report.read_text())
    assert sum(told["stuckStates"].values()) == 20
    assert told["stuckStates"]["TRYING"] == 0
    assert told["settledSecondsAfter"] <= 10
    assert told["ofAlone"] > 0
    assert told["beside"]["failures"] == {}
