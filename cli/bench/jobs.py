"""What the load generator is asked, and what it answers."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Job:
    """What to do.

    kind: "handfast" or "raw"; urls: the orders' front door, or three bare participants; name: begins the ids
    of the orders; product: what they order.
    """

    kind: str
    urls: list[str]
    name: str
    orders: int
    in_flight: int
    product: str = ""


@dataclass(slots=True)
class Result:
    """What came of it.

    seconds: wall time; cpu: the generator's own CPU seconds; latencies: milliseconds an order; accepted: id
    of each order that was accepted and the instant (epoch ms); failures: what else was answered, counted.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    latencies: list[float] = field(default_factory=list)
    accepted: dict[str, float] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
