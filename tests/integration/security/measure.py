"""What authentication costs: orders per second without it, with a shared secret, and with an issuer's keys.

`python -m tests.integration.security.measure`: three stacks at once, a round of each in turn, so that all see
the same machine. Every order that was accepted is checked at the end.
"""

import statistics
from contextlib import ExitStack

from cli.bench.figures import Figures
from cli.bench.run import ENVIRONMENT, WARM_UP, Handfast, generator
from cli.console import Console
from cli.stack import own_stack
from tests.issuer import SECRET, served, shared

ROUNDS = 5
ORDERS = 600
IN_FLIGHT = 32
A_DAY = 86_400.0


def main() -> None:
    console = Console()
    with ExitStack() as stack:
        load = stack.enter_context(generator())
        issuer = stack.enter_context(served())
        issuer.clients = dict.fromkeys(("coordinator", "order", "stock", "payment"), "all")
        by_issuer = {
            "HANDFAST_AUTH_ISSUER": issuer.url,
            "HANDFAST_AUTH_CLIENT_SECRET": "all",
            "HANDFAST_TOKEN": issuer.token("operator", lasts=A_DAY),
        }
        ways = {
            "without": ({}, ""),
            "HS256": (
                {"HANDFAST_AUTH_SHARED_SECRET": SECRET},
                shared("customer", sub="guest", lasts=A_DAY),
            ),
            "RS256": (by_issuer, issuer.token("customer", sub="guest", lasts=A_DAY)),
        }
        stacks = {
            name: Handfast(stack.enter_context(own_stack(environment=ENVIRONMENT | environment)), load, token)
            for name, (environment, token) in ways.items()
        }
        figures = {name: Figures(name, IN_FLIGHT) for name in stacks}
        for measured in stacks.values():
            measured.round(Figures("", IN_FLIGHT), "warm", WARM_UP)
        for number in range(1, ROUNDS + 1):
            for name, measured in stacks.items():
                measured.round(figures[name], f"{number}", ORDERS)
            rates = ", ".join(f"{name} {one.rates[-1]:.0f}/s" for name, one in figures.items())
            console.line(f"round {number} of {ROUNDS}: {rates}")
        bare = figures["without"].summary()["cpuMicrosecondsPerOrder"]
        for name, measured in stacks.items():
            measured.check()
            rates_without = figures["without"].rates
            ratios = [rate / other for rate, other in zip(figures[name].rates, rates_without, strict=True)]
            median = statistics.median(figures[name].rates)
            told = f"{statistics.median(ratios):.2f} of without ({min(ratios):.2f} to {max(ratios):.2f})"
            cpu = figures[name].summary()["cpuMicrosecondsPerOrder"]
            console.line(f"{name:<8} {median:6.0f} orders/s, {told}; {cpu} us CPU an order, {cpu / bare:.2f}")


if __name__ == "__main__":
    main()
