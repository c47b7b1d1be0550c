"""Nothing lost: whoever is killed or stopped while orders go through, all ends as customers were told.

Where the data is on a server, that is one more to be killed, to stand still and to be cut off.

The broker comes back empty from a kill. Everything here waits for conditions; what doesn't come true in time
fails with what was left.
"""

import asyncio
import itertools
import logging
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp
import psutil
import pytest

from cli.datadir import started_at
from cli.programs import taken
from cli.stack import OwnStack
from shared.settings import BROKER_PORT, PORTS, database_place
from tests.collector import collect, deposits_of
from tests.customers import Customers
from tests.e2e.conftest import StartStack
from tests.e2e.lines import is_ready, line_to
from tests.e2e.settled import until_settled
from tests.e2e.waiting import eventually, freeze
from tests.invariants import Finding, Promise, broken, unfinished, unkept
from tests.postgres import Server
from tests.stores import rows_of

log = logging.getLogger(__name__)

VICTIMS: Final = ("coordinator", "order", "stock", "payment", "broker")
HASTY: Final = {"HANDFAST_REPUBLISH_SECONDS": "1", "HANDFAST_REPUBLISH_MAX_SECONDS": "4"}
BRIEF: Final = {"HANDFAST_DATABASE_STATEMENT_SECONDS": "1", "HANDFAST_DATABASE_CONNECT_SECONDS": "2"}
"""A database that stands still is given up before long."""
SEED: Final = 20
WORKERS: Final = 6
BETWEEN: Final = 40
"""Orders that are decided before the next kill."""
BACK_WITHIN: Final = 60.0
SETTLED_WITHIN: Final = 60.0
LOOK: Final = 0.1
EARLY: Final = [
    {"orderId": f"early-{number}", "productId": "1", "qty": 1, "paymentAmt": 5} for number in range(40)
]
"""Orders that are accepted before a stop."""


def test_nothing_is_lost_when_every_process_is_killed_in_turn(start: StartStack, tmp_path: Path) -> None:
    stack = start(data_dir=tmp_path, environment=HASTY)
    asyncio.run(_through(stack, {name: partial(_kill, stack, name) for name in VICTIMS}))
    _stops_cleanly(stack)


@pytest.mark.at_length
@pytest.mark.parametrize("backing", ["postgres"], indirect=True)
def test_nothing_is_lost_when_the_database_is_cut_off_killed_and_paused(
    start: StartStack, tmp_path: Path, postgres: Server
) -> None:
    stack = start(data_dir=tmp_path, environment=HASTY | BRIEF)
    troubles = {
        "cut off": partial(_cut_off, postgres),
        "killed": partial(_kill_server, stack, postgres),
        "paused": partial(_pause_server, stack, postgres),
    }
    asyncio.run(_through(stack, troubles))
    _stops_cleanly(stack)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_confirmations_that_a_stop_cut_short_are_finished_after_the_next_start(
    start: StartStack, tmp_path: Path, number: signal.Signals
) -> None:
    stack = start(data_dir=tmp_path, environment=HASTY)
    deposits = asyncio.run(_accept_without_confirming(stack))
    broker = stack.pid("broker")
    if number is signal.SIGTERM:
        stack.process.send_signal(number)
        # The order service goes first: once it has, no order can be confirmed any more.
        eventually(lambda: "order" not in stack.processes(), "the order service has stopped")
        os.kill(broker, signal.SIGCONT)
        assert stack.stop() == 0
    else:
        stack.kill()
    assert _statuses(stack) == {("CONFIRMING", len(EARLY))}
    again = start(data_dir=tmp_path, environment=HASTY, port_offset=stack.settings.port_offset)
    asyncio.run(_all_confirmed(again, deposits))


async def _through(stack: OwnStack, troubles: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
    """Have customers shop while one trouble after the other comes and goes; then all must be final, and as
    they were told."""
    async with _customers(stack) as customers:
        before = await deposits_of(customers.read)
        await customers.open()
        deposits = before | await deposits_of(customers.read)
        shut = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(customers.shop(shut))
            for name, trouble in troubles.items():
                await _more_decided(customers)
                began = time.monotonic()
                await trouble()
                await _order_confirmed(customers, f"after-{name.replace(' ', '-')}")
                await _until(lambda: _are_ready(stack, all), "all are ready")
                log.info("%s: all was well again after %.1f s", name, time.monotonic() - began)
            await _more_decided(customers)
            shut.set()
        await until_settled(customers.read, SETTLED_WITHIN)
        snapshot = await collect(customers.read, deposits)
        findings = [*broken(snapshot), *unfinished(snapshot), *unkept(snapshot, customers.promises)]
        assert not findings, _listed(findings)
        assert snapshot.letters == ()
        standing = {one.reservation_id: one.state for one in snapshot.reservations}
        assert {name: standing.get(name) for name in customers.reservations} == customers.reservations
        refunded = {one.customer_id: one.refunded for one in snapshot.accounts if one.refunded}
        assert refunded == dict(customers.refunded)
        for order_id in sorted(customers.wishes)[::10]:
            await customers.repeat(order_id)
        assert customers.wrong == []
        assert await collect(customers.read, deposits) == snapshot
        _was_worth_it(customers, len(troubles))


async def _kill(stack: OwnStack, name: str) -> None:
    """Kill a process in the middle of its work; return once it is started again."""
    killed = stack.pid(name)
    os.kill(killed, signal.SIGKILL)

    async def is_back() -> bool:
        process = stack.processes().get(name)
        return process is not None and bool(process["pid"] != killed)

    await _until(is_back, f"{name} is started again")


async def _cut_off(postgres: Server) -> None:
    """End every connection to the database at once, in the middle of whatever it is at."""
    assert await asyncio.to_thread(postgres.cut) >= len(PORTS), "nobody was connected"


async def _kill_server(stack: OwnStack, postgres: Server) -> None:
    """Kill the database, and start it again once everybody has noticed."""
    await asyncio.to_thread(postgres.kill)
    await _until(lambda: _are_ready(stack, _none), "nobody is ready without the database")
    await asyncio.to_thread(postgres.start)


async def _pause_server(stack: OwnStack, postgres: Server) -> None:
    """Have the database stand still until everybody has given it up."""
    await asyncio.to_thread(postgres.freeze)
    try:
        await _until(lambda: _are_ready(stack, _none), "nobody is ready while the database stands still")
    finally:
        postgres.thaw()


def _none(ready: Sequence[bool]) -> bool:
    return not any(ready)


async def _are_ready(stack: OwnStack, how_many: Callable[[Sequence[bool]], bool]) -> bool:
    """Ask every program whether it is ready; say whether it is as many of them as it should be."""
    return how_many([await is_ready(stack.settings, program) for program in PORTS])


async def _order_confirmed(customers: Customers, name: str) -> None:
    """Order until an order is confirmed: while somebody is away, one may well run out of time."""
    end = time.monotonic() + BACK_WITHIN
    for attempt in itertools.count(1):
        assert time.monotonic() < end, f"no order was confirmed within {BACK_WITHIN:.0f} s"
        wish = {"orderId": f"{name}-{attempt}", "productId": "1", "qty": 1, "paymentAmt": 1}
        answer = await customers.place_and_wait(wish)
        if answer.status < 300:
            return


async def _more_decided(customers: Customers) -> None:
    """Return once a number of further orders are decided."""
    enough = customers.decided + BETWEEN

    async def are_decided() -> bool:
        return customers.decided >= enough

    await _until(are_decided, f"{BETWEEN} orders are decided")


async def _until(look: Callable[[], Awaitable[bool]], what: str) -> None:
    """Look again and again until it is true."""
    end = time.monotonic() + BACK_WITHIN
    while not await look():
        assert time.monotonic() < end, f"not within {BACK_WITHIN:.0f} s: {what}"
        await asyncio.sleep(LOOK)


async def _accept_without_confirming(stack: OwnStack) -> dict[str, int]:
    """Have orders accepted while the broker stands still, so that no Confirm travels; return the deposits."""
    async with _customers(stack) as customers:
        deposits = await deposits_of(customers.read)
        await asyncio.to_thread(freeze, stack.pid("broker"))
        for wish in EARLY:
            answer = await customers.ask("POST", "order", "/orders", wish)
            assert (answer.status, answer.body["status"]) == (201, "CONFIRMING"), answer
        return deposits


async def _all_confirmed(stack: OwnStack, deposits: dict[str, int]) -> None:
    async with _customers(stack) as customers:
        await until_settled(customers.read, SETTLED_WITHIN)
        snapshot = await collect(customers.read, deposits)
        promises = {str(wish["orderId"]): Promise.KEPT for wish in EARLY}
        findings = [*broken(snapshot), *unfinished(snapshot), *unkept(snapshot, promises)]
        assert not findings, _listed(findings)


def _statuses(stack: OwnStack) -> set[tuple[str, int]]:
    """Read from a stopped stack's database how many orders have which status."""
    query = "SELECT status, count(*) FROM orders GROUP BY status"
    return {(status, count) for status, count in rows_of(database_place(stack.settings, "order"), query)}


def _stops_cleanly(stack: OwnStack) -> None:
    """Stop a stack: it takes less than 10 s, ends well and leaves no process and no port behind."""
    up = psutil.Process(stack.process.pid)
    processes = {child.pid: started_at(child.pid) for child in up.children(recursive=True)}
    assert {process["pid"] for process in stack.processes().values()} <= processes.keys()
    began = time.monotonic()
    assert stack.stop() == 0
    assert time.monotonic() - began < 10
    assert [pid for pid, started in processes.items() if started_at(pid) == started] == []
    offset = stack.settings.port_offset
    assert taken(port + offset for port in (*PORTS.values(), BROKER_PORT)) == []


def _was_worth_it(customers: Customers, troubles: int) -> None:
    """The test proves little unless much was ordered, most of it was kept, and answers were lost."""
    kept = sum(promise is Promise.KEPT for promise in customers.promises.values())
    placed = len(customers.promises)
    log.info("%d orders, %d kept, %d repeats: %s", placed, kept, customers.repeats, dict(customers.visits))
    assert placed >= BETWEEN * troubles
    assert kept >= placed / 3
    assert customers.repeats > 0


def _listed(findings: Sequence[Finding]) -> str:
    shown = [str(finding) for finding in findings[:20]]
    return "\n".join([f"{len(findings)} findings:", *shown])


@asynccontextmanager
async def _customers(stack: OwnStack) -> AsyncIterator[Customers]:
    timeout = aiohttp.ClientTimeout(total=25)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield Customers(line_to(stack.settings, session), random.Random(SEED))
