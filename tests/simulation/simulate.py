"""One simulated history, from a seed: customers shop while troubles come and go, then everything heals, and
what is left must be as the invariants say and as the customers were told."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from shared.errors import Unreachable
from tests.collector import collect
from tests.customers import Customers, Send, UncertainError
from tests.invariants import Finding, broken, unfinished, unkept
from tests.simulation.conditions import Fault
from tests.simulation.long_after import long_after
from tests.simulation.loop import run_virtually
from tests.simulation.operator import LOOK, Operator
from tests.simulation.plan import Trouble, draw
from tests.simulation.programs import instances
from tests.simulation.weather import Weather
from tests.simulation.world import World, world
from tests.snapshot import Snapshot

WORKERS: Final = 5
EACH: Final = 2
"""Instances of every program that share its database: without a compare-and-set they would overwrite what the
others wrote."""
SECONDS_AN_ORDER: Final = 1.5
"""Of virtual time, for drawing the plan: so long will the customers take at least."""
PATIENCE: Final = 900.0
PAUSE: Final = (2.0, 10.0)
HEALED_WITHIN: Final = 1_200.0
EVERY: Final = 4


@dataclass(frozen=True, slots=True)
class Case:
    """What is simulated. plan: None: drawn from the seed."""

    seed: int
    orders: int = 50
    plan: tuple[Trouble, ...] | None = None

    @property
    def goes_on(self) -> bool:
        """Whether it is looked at again long after its end; every fourth is."""
        return self.seed % EVERY == 0


@dataclass(frozen=True, slots=True)
class Report:
    """How it went. findings: what must not be; struck: how often each fault did something; digest: the hash
    of the whole history; lines: the history itself, where it was kept; healed: virtual seconds from the end
    of the troubles until everything was final; reconciled: reconciliations that the operator began."""

    case: Case
    findings: tuple[str, ...]
    orders: int
    struck: Mapping[Fault, int]
    digest: str
    healed: float
    lines: tuple[str, ...] = field(default=(), repr=False)
    reconciled: int = 0


def simulate(case: Case, *, keep_trace: bool = False) -> Report:
    """Run one case to its end. The same case gives the same report (where hashes of strings are fixed)."""
    logging.disable(logging.CRITICAL)
    try:
        return run_virtually(_run(case, keep_trace))
    finally:
        logging.disable(logging.NOTSET)


async def _run(case: Case, keep_trace: bool) -> Report:
    plan = plan_of(case)
    async with world(case.seed, keep_trace=keep_trace, each=EACH) as one:
        customers = Customers(
            _line(one), random.Random(f"{case.seed}/customers"), patience=PATIENCE, pause=PAUSE
        )
        await customers.open()
        operator = Operator(one, random.Random(f"{case.seed}/operator"))
        deposits = await operator.deposits()
        findings: list[str] = []
        weather = Weather(one, plan)
        closing = asyncio.Event()
        healed = HEALED_WITHIN
        try:
            async with asyncio.timeout(PATIENCE + HEALED_WITHIN), asyncio.TaskGroup() as group:
                shoppers = [group.create_task(customers.shop(closing)) for _ in range(WORKERS)]
                group.create_task(_close_after(customers, case.orders, closing))
                troubles = group.create_task(weather.run())
                group.create_task(operator.work(closing, troubles, shoppers))
            await weather.heal()
            healed = await _settle(operator)
            findings += _left_over(await operator.reconcile())
        except* (AssertionError, TimeoutError) as errors:
            findings += [f"[it went on] {error}" for error in errors.exceptions]
        snapshot = _without_poison(await collect(one.read, deposits))
        found = [*broken(snapshot), *unfinished(snapshot), *unkept(snapshot, customers.promises)]
        findings += [str(finding) for finding in (*found, *_alone(customers, snapshot))]
        findings += [*(f"[the answers fit] {wrong}" for wrong in customers.wrong), *one.watch.findings]
        findings += weather.lost_letters()
        if case.goes_on and not findings:
            findings += await long_after(one, operator)
            findings += [*_left_over(await operator.reconcile()), *one.watch.findings]
        return Report(
            case=replace(case, plan=plan),
            findings=tuple(findings),
            orders=len(snapshot.orders),
            struck=dict(one.conditions.struck),
            digest=one.trace.digest(),
            healed=healed,
            reconciled=operator.reconciled,
            lines=tuple(one.trace.lines),
        )


def plan_of(case: Case) -> tuple[Trouble, ...]:
    """Return the plan of a case."""
    if case.plan is not None:
        return case.plan
    hosts = tuple(instances(EACH))
    return draw(random.Random(f"{case.seed}/plan"), case.orders * SECONDS_AN_ORDER, hosts)


def _line(one: World) -> Send:
    async def send(
        method: str, program: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[int, str]:
        try:
            reply = await one.call(method, program, path, body, **headers)
        except Unreachable as error:
            raise UncertainError(error.detail) from error
        return reply.status, reply.body.decode()

    return send


async def _close_after(customers: Customers, orders: int, closing: asyncio.Event) -> None:
    """Close the shop once so many orders were decided."""
    while customers.decided < orders:  # noqa: ASYNC110 - nothing tells but the count
        await asyncio.sleep(0.5)
    closing.set()


async def _settle(operator: Operator) -> float:
    """Wait until everything is final; return how long that took, in virtual seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < HEALED_WITHIN:
        await operator.replay_all()
        if not operator.unsettled():
            return loop.time() - began
        await asyncio.sleep(LOOK)
    return HEALED_WITHIN


def _left_over(run: Mapping[str, Any]) -> Iterator[str]:
    """Return what a reconciliation finds, which must be nothing once everything is final."""
    if run["state"] != "DONE" or run["problems"] or run["uncompared"]:
        yield f"[a reconciliation ends] {run['state']}: {run['problems']}, {run['uncompared']}"
    for one in run["findings"]:
        what = f"{one['kind']} {one['subject']}: {one['evidence']}"
        yield f"[a reconciliation finds nothing] {one['participant']}: {what}"


def _alone(customers: Customers, snapshot: Snapshot) -> Sequence[Finding]:
    """Return the standalone reservations that didn't end as they were told, and refunds that don't add up."""
    states = {one.reservation_id: one.state for one in snapshot.reservations}
    findings = [
        Finding("standalone reservations", f"reservation {name}", f"{states.get(name)} instead of {wanted}")
        for name, wanted in customers.reservations.items()
        if states.get(name) != wanted
    ]
    refunded = Counter({one.customer_id: one.refunded for one in snapshot.accounts if one.refunded})
    if refunded != customers.refunded:
        findings.append(Finding("refunds", "accounts", f"{refunded} instead of {customers.refunded}"))
    return findings


def _without_poison(snapshot: Snapshot) -> Snapshot:
    """Leave out the letters of records that none of ours published: nothing can settle them."""
    letters = tuple(one for one in snapshot.letters if one.branch_id not in (None, "poison"))
    return replace(snapshot, letters=letters)
