"""The arithmetic of the bench."""

import math
import os
import time

import pytest

from cli.bench.figures import Figures, percentile, row
from cli.machine import cpu_seconds, describe, resident_mib


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(value) for value in range(1, 101)]
    assert (percentile(values, 50), percentile(values, 99), percentile(values, 100)) == (50.0, 99.0, 100.0)
    assert percentile([7.0], 99) == 7.0
    assert percentile([], 50) is None


def test_rounds_add_up() -> None:
    figures = Figures("handfast", 32)
    figures.add(seconds=1.0, cpu=0.5, latencies=[1.0, 2.0], failures={})
    figures.add(seconds=3.0, cpu=1.5, latencies=[3.0, 4.0], failures={"503": 2})
    summary = figures.summary()
    assert summary["orders"] == 4
    assert summary["ordersPerSecond"] == 1.0
    assert summary["ordersPerSecondByRound"] == [2.0, 0.7]
    assert summary["cpuMicrosecondsPerOrder"] == 500_000
    assert summary["failures"] == {"503": 2}


def test_cpu_that_cannot_be_told_is_left_out() -> None:
    figures = Figures("handfast", 1)
    figures.add(seconds=1.0, cpu=None, latencies=[1.0], failures={})
    figures.add(seconds=1.0, cpu=1.0, latencies=[1.0], failures={})
    assert figures.summary()["cpuMicrosecondsPerOrder"] is None


def test_the_table_says_how_much_of_raw_it_is() -> None:
    raw, mine = Figures("raw", 32), Figures("handfast", 32)
    raw.add(seconds=1.0, cpu=1.0, latencies=[1.0] * 10, failures={})
    mine.add(seconds=1.0, cpu=1.0, latencies=[1.0] * 7, failures={})
    assert mine.by_round(raw) == [0.7]
    assert row(mine, raw)[-1] == "0.70"
    assert row(raw, None)[-1] == ""


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")  # noqa: PTH110
def test_cpu_and_memory_are_those_of_the_process() -> None:
    before = cpu_seconds([os.getpid()])
    until = time.process_time() + 0.2
    while time.process_time() < until:
        math.sqrt(2.0)
    after = cpu_seconds([os.getpid()])
    assert before is not None
    assert after is not None
    assert 0.15 <= after - before <= 1.0
    memory = resident_mib(os.getpid())
    assert memory is not None
    assert 10 < memory < 2_000


def test_a_process_that_is_gone_has_no_figures() -> None:
    assert cpu_seconds([2**30]) is None
    assert resident_mib(2**30) is None


def test_the_machine_is_described() -> None:
    machine = describe()
    assert machine["cores"] >= 1
    assert machine["python"].startswith("CPython 3.")
