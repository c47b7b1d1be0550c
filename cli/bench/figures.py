"""The figures of a measurement: rounds added up, percentiles, the table; pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Figures:
    """What was measured of one system at one level, over all rounds. seconds, cpu: seconds; the rest ms."""

    system: str
    in_flight: int
    orders: int = 0
    seconds: float = 0.0
    cpu: float | None = 0.0
    latencies: list[float] = field(default_factory=list)
    settling: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)

    def add(
        self, *, seconds: float, cpu: float | None, latencies: Sequence[float], failures: dict[str, int]
    ) -> None:
        """Add a round. cpu: of all processes involved, the load generator included."""
        self.orders += len(latencies)
        self.seconds += seconds
        self.cpu = None if cpu is None or self.cpu is None else self.cpu + cpu
        self.latencies += latencies
        self.rates.append(len(latencies) / seconds)
        for what, count in failures.items():
            self.failures[what] = self.failures.get(what, 0) + count

    @property
    def rate(self) -> float:
        """Orders per second."""
        return self.orders / self.seconds if self.seconds else 0.0

    def of(self, baseline: "Figures") -> float | None:
        """Return the rate as a part of the baseline's."""
        return round(self.rate / baseline.rate, 3) if baseline.rate else None

    def by_round(self, baseline: "Figures") -> list[float]:
        """Return the same for each round and the baseline's that came just before it."""
        pairs = zip(self.rates, baseline.rates, strict=True)
        return [round(mine / theirs, 3) for mine, theirs in pairs if theirs]

    def summary(self) -> dict[str, Any]:
        """Return the figures as they are written to JSON."""
        return {
            "system": self.system,
            "inFlight": self.in_flight,
            "orders": self.orders,
            "ordersPerSecond": round(self.rate, 1),
            "ordersPerSecondByRound": [round(rate, 1) for rate in self.rates],
            "p50Ms": rounded(percentile(self.latencies, 50)),
            "p99Ms": rounded(percentile(self.latencies, 99)),
            "cpuMicrosecondsPerOrder": self._cpu_per_order(),
            "acceptedToConfirmedP50Ms": rounded(percentile(self.settling, 50)),
            "acceptedToConfirmedP99Ms": rounded(percentile(self.settling, 99)),
            "failures": self.failures,
        }

    def _cpu_per_order(self) -> int | None:
        return round(self.cpu / self.orders * 1_000_000) if self.cpu and self.orders else None


COLUMNS = (
    "in flight",
    "system",
    "orders/s",
    "p50 ms",
    "p99 ms",
    "CPU µs/order",
    "to CONFIRMED p50 ms",
    "p99 ms",
    "of raw",
)


def row(figures: Figures, raw: Figures | None) -> tuple[str, ...]:
    """Return a line of the table. raw: the baseline of the same level."""
    summary = figures.summary()
    ratio = None if raw is None else figures.of(raw)
    shown = (
        figures.in_flight,
        figures.system,
        round(figures.rate),
        summary["p50Ms"],
        summary["p99Ms"],
        summary["cpuMicrosecondsPerOrder"],
        summary["acceptedToConfirmedP50Ms"],
        summary["acceptedToConfirmedP99Ms"],
    )
    return (
        *("" if value is None else str(value) for value in shown),
        "" if ratio is None else f"{ratio:.2f}",
    )


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the nearest-rank percentile: the smallest value that so many percent don't exceed."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
