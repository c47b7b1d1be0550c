"""What the load generator is asked, and what it answers."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Job:
    """What to do.

    kind: "handfast", "raw", "claims" or "post"; urls: of the orders' front door, of three bare participants,
    of the stock service, or of one bare participant; name: begins the ids of the orders (or claims); product:
    what they order (or the drop's code); customers: how many claim; token: of the customer who orders, if one
    is asked for.
    """

    kind: str
    urls: list[str]
    name: str
    orders: int
    in_flight: int
    product: str = ""
    customers: int = 1
    token: str = ""


@dataclass(slots=True)
class Result:
    """What came of it.

    seconds: wall time; cpu: the generator's own CPU seconds; latencies: milliseconds an order; accepted: id
    of each order (or claim) that was accepted and the instant (epoch ms); refused: as the drop has it,
    counted; failures: what else was answered, counted.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    latencies: list[float] = field(default_factory=list)
    accepted: dict[str, float] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
