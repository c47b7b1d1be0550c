"""Runs cases against a participant: the quick ones in turn, those that wait beside each other."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx

from cli.conformance.arbiters import RealCoordinator, ServedCoordinator, serve
from cli.conformance.case import Case
from cli.conformance.drive import Drive, Surroundings
from cli.conformance.exchange import Skipped, Violation
from cli.conformance.report import Report, Result, Verdict
from cli.conformance.target import Target
from cli.outcome import OutOfReach
from shared.clock import SystemClock
from shared.identity import ulids

MOST_RUNS: Final = 8
"""What was sent and answered is told in its order up to so many changes of answer."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Where the kit is to be the coordinator that the participant asks."""

    host: str
    port: int


async def check(
    target: Target,
    cases: Sequence[Case],
    *,
    serving: Serving | None = None,
    coordinator: str | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Report:
    """Run the cases and return what was seen.

    serving: be the coordinator there; coordinator: the base URL of a running one; advance: called after each
    case. Raises OutOfReach where nobody answers at the target's address, Usage where the kit can't be a
    coordinator there or is told something that can't work.
    """
    clock = SystemClock()
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    async with (
        httpx.AsyncClient(trust_env=False, timeout=target.timeout, limits=limits) as client,
        _served(serving) as served,
    ):
        around = Surroundings(
            target=target,
            client=client,
            clock=clock,
            new_id=ulids(clock, random.SystemRandom()),
            served=served,
            real=None if coordinator is None else RealCoordinator(client, coordinator),
        )
        await _reach(client, target.collection)
        began = time.monotonic()
        results = {case.name: await _run(case, around, advance) for case in cases if not case.waits}
        waiting = [case for case in cases if case.waits]
        # All of them end, and are tidied up after, before one that can't go on ends the run.
        found = await asyncio.gather(
            *(_run(case, around, advance) for case in waiting), return_exceptions=True
        )
        for case, result in zip(waiting, found, strict=True):
            if isinstance(result, BaseException):
                raise result
            results[case.name] = result
        ordered = tuple(results[case.name] for case in cases)
        return Report(target.collection, ordered, time.monotonic() - began, watched=target.watch is not None)


async def _run(case: Case, around: Surroundings, advance: Callable[[], None]) -> Result:
    drive = Drive(around)
    began = time.monotonic()
    verdict, seen, shown = Verdict.PASSED, "", None
    try:
        try:
            await case.run(drive)
        except Skipped as skipped:
            verdict, seen = Verdict.SKIPPED, str(skipped)
        except Violation as violation:
            shown = violation.exchange or (drive.exchanges[-1] if drive.exchanges else None)
            verdict, seen = Verdict.FAILED, violation.seen
    finally:
        left = await drive.tidy()
    advance()
    return Result(
        case, verdict, seen or _summary(drive), time.monotonic() - began, shown=shown, left=tuple(left)
    )


def _summary(drive: Drive) -> str:
    """Say what was sent and answered: "Try 201, 20 x Confirm 204"; of many, how often each."""
    told = [f"{exchange.label} {exchange.outcome}" for exchange in drive.exchanges]
    runs: list[tuple[str, int]] = []
    for one in told:
        if runs and runs[-1][0] == one:
            runs[-1] = (one, runs[-1][1] + 1)
        else:
            runs.append((one, 1))
    if len(runs) > MOST_RUNS:
        runs = sorted(Counter(told).items())
    return ", ".join(one if times == 1 else f"{times} x {one}" for one, times in runs)


async def _reach(client: httpx.AsyncClient, url: str) -> None:
    try:
        await client.get(url)
    except httpx.RequestError as failure:
        what = str(failure) or type(failure).__name__
        raise OutOfReach(f"the participant at {url} gives no usable answer: {what}") from failure


@asynccontextmanager
async def _served(serving: Serving | None) -> AsyncIterator[ServedCoordinator | None]:
    if serving is None:
        yield None
        return
    served = ServedCoordinator()
    async with serve(served, serving.host, serving.port):
        yield served
