"""Plots of a measurement, as a PNG (matplotlib) and as text (plotext), which come with the extra `plot`.

They are imported only when something is drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.outcome import CommandError

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: curves by name, on logarithmic axes."""

    title: str
    x: str
    y: str
    curves: Mapping[str, Curve]


class NoPlot(CommandError):
    """What draws is not installed."""


def draw_png(panels: Sequence[Panel], path: Path) -> None:
    """Draw the panels side by side into a PNG file; raise NoPlot where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise _not_installed("matplotlib") from missing
    figure = Figure(figsize=(4.6 * len(panels), 3.8), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, curve in panel.curves.items():
            axes.plot([x for x, _ in curve], [y for _, y in curve], marker="o", markersize=3, label=name)
        ticks = sorted({x for curve in panel.curves.values() for x, _ in curve})
        axes.set(title=panel.title, xlabel=panel.x, ylabel=panel.y, xscale="log", yscale="log")
        axes.set_xticks(ticks, labels=[f"{x:g}" for x in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def draw_text(panel: Panel, width: int = 90, height: int = 20) -> str:
    """Draw a panel as text; raise NoPlot where plotext is not installed."""
    try:
        import plotext
    except ImportError as missing:
        raise _not_installed("plotext") from missing
    figure = plotext.figure
    figure.clear()
    figure.theme("colorless").plot_size(width, height).title(panel.title)
    for axis, label in (("x", panel.x), ("y", panel.y)):
        figure.label(label, axis)
        figure.ruler(axis).scale("log")
    for name, curve in panel.curves.items():
        signal = figure.signal([x for x, _ in curve], [y for _, y in curve], marker=name[0])
        figure.draw(signal.lines().label(name))
    return str(plotext.uncolorize(figure.build().string()))


def _not_installed(module: str) -> NoPlot:
    return NoPlot(f"no plot: {module} is not installed (it comes with the extra: handfast[plot])")
