"""The figures and plots of `handfast bench contention`."""

import sys
from pathlib import Path

import pytest

from cli.bench.contention import OLD, Cell, row
from cli.bench.figures import Figures
from cli.bench.plot import NoPlot, Panel, draw_png, draw_text

PANEL = Panel("Holds", "in flight", "orders/s", {"atomic": [(1, 300), (64, 5000)], OLD: [(1, 9), (64, 400)]})


def cell(system: str, rate: int, latency: float, old: Cell | None = None) -> Cell:
    made = Cell(1, Figures(system, 64), old=old)
    made.add({"seconds": 1.0, "cpu": 0.5, "latencies": [latency] * rate, "aborts": 1, "retries": 2})
    return made


def test_a_cell_is_compared_with_the_old_design() -> None:
    old = cell(OLD, 10, 100.0)
    mine = cell("atomic", 120, 5.0, old)
    summary = mine.summary()
    assert (summary["timesOld"], summary["p99OfOld"], summary["ordersPerSecond"]) == (12.0, 0.05, 120.0)
    assert (summary["aborts"], summary["retries"], summary["products"]) == (1, 2, 1)
    assert row(mine) == (1, 64, "atomic", 120, "12.0", 5.0, 5.0, "0.05", 1, 2)
    assert row(old)[4] is None
    assert old.summary()["timesOld"] is None


def test_a_plot_is_drawn_as_text() -> None:
    text = draw_text(PANEL)
    assert "a atomic" in text
    assert "\x1b" not in text


def test_what_is_missing_to_draw_with_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("plotext", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NoPlot, match=r"plotext is not installed .*handfast\[plot\]"):
        draw_text(PANEL)
    with pytest.raises(NoPlot, match="matplotlib is not installed"):
        draw_png([PANEL], tmp_path / "holds.png")
