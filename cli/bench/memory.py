"""How memory and throughput go with what is stored: many orders in a row, looked at again and again."""

from dataclasses import dataclass
from typing import Any

from cli.bench.figures import Figures
from cli.bench.run import Say, generator, handfast
from cli.machine import resident_mib

IN_FLIGHT = 32
STEPS = 20


@dataclass(frozen=True, slots=True)
class Step:
    """What was seen after so many orders. memory: MiB resident, by process."""

    orders: int
    rate: float
    memory: dict[str, float | None]

    def summary(self) -> dict[str, Any]:
        return {"orders": self.orders, "ordersPerSecond": round(self.rate, 1), "residentMib": self.memory}


def curve(orders: int, say: Say) -> list[Step]:
    """Place so many orders at 32 in flight, and return a step for every twentieth of them."""
    steps: list[Step] = []
    share = max(1, orders // STEPS)
    with generator() as load, handfast(load, say) as own:
        for number in range(1, STEPS + 1):
            figures = Figures("handfast", IN_FLIGHT)
            own.round(figures, f"m{number}", share)
            memory = {name: resident_mib(pid) for name, pid in own.pids().items()}
            steps.append(Step(number * share, figures.rate, memory))
            shown = ", ".join(f"{name} {mib} MiB" for name, mib in memory.items())
            say(f"{steps[-1].orders} orders: {figures.rate:.0f}/s, {shown}")
        say("checking every order")
        own.check()
    return steps
