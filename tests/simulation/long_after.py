"""Long after a history has ended: what is past its retention has to go, and then the past comes back. Every
message that was ever published is published again, every protocol call is made again, and every branch is
asked about, the oldest first; none of it may change anything."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from tests.simulation.operator import LETTERS as OPERATED
from tests.simulation.operator import LOOK, Operator
from tests.simulation.world import RETENTION_PAUSE_SECONDS, World

LATER_MS: Final = 4 * 3_600_000
"""By so much time passes at once: more than any retention of a simulated program, and than any hold."""
PATIENCE: Final = 300.0
"""Virtual seconds for everything to be forgotten, and for what came back to be dealt with."""
STANDING: Final[Mapping[str, Sequence[str]]] = {
    "coordinator": ("SELECT id, state, reason FROM tcc_transaction ORDER BY id",),
    "order": ("SELECT order_id, transaction_id, status, reason FROM orders ORDER BY order_id",),
    "stock": (
        "SELECT product_id, on_hand, held, sold FROM product ORDER BY product_id",
        "SELECT product_id, customer_id, held, sold FROM purchase ORDER BY product_id, customer_id",
    ),
    "payment": (
        "SELECT customer_id, balance, held, captured, refunded FROM account ORDER BY customer_id",
        "SELECT payment_id, amount, refunded FROM capture ORDER BY payment_id",
    ),
}
"""What was true of the business and has to stay so."""
RESERVED: Final = "SELECT count(*) FROM reservation"
LETTERS: Final = "SELECT count(*) FROM letter WHERE state IN ('EDITED', 'SETTLED')"
KEYS: Final = "SELECT count(*) FROM idempotency"
FORGOTTEN: Final[Mapping[str, Sequence[str]]] = {
    "coordinator": (
        "SELECT count(*) FROM tcc_transaction WHERE shrunk_at IS NULL",
        "SELECT count(*) FROM timeline",
        LETTERS,
    ),
    "order": (RESERVED, LETTERS, KEYS),
    "stock": (RESERVED, LETTERS, KEYS),
    "payment": (RESERVED, LETTERS, KEYS),
}
"""Of these nothing is to be left."""
HELD: Final = "SELECT count(*) FROM reservation WHERE state NOT IN ('CONFIRMED', 'CANCELLED')"
OPEN: Final = f"{OPERATED} AND transaction_id IS NOT NULL"
UNSETTLED: Final[Mapping[str, Sequence[str]]] = {
    "coordinator": (OPEN,),
    "order": (HELD, OPEN),
    "stock": (HELD, OPEN),
    "payment": (HELD, OPEN),
}
"""Nor of these. What nothing can settle stays a letter, an alarm: a standalone Confirm whose reservation
nobody knows any more, and a record that none of ours published."""
BRANCHES: Final = (
    "SELECT id, transaction_id, state FROM reservation WHERE transaction_id IS NOT NULL ORDER BY id"
)
DECISIONS: Final = {"CONFIRMED": "confirm", "CANCELLED": "cancel"}


async def long_after(world: World, operator: Operator) -> list[str]:
    """Let the time pass after which nothing is needed, and the past come back; return what is wrong."""
    before = [*_all(world, STANDING)]
    branches = [row for name in ("order", "stock", "payment") for row in _rows(world, name, BRANCHES)]
    world.pass_time(LATER_MS)
    findings = await _until_forgotten(world)
    _bring_back(world)
    findings += await _ask_about(world, branches)
    findings += await _until_quiet(world, operator)
    for program, query, rows in _all(world, STANDING):
        [then] = [old for name, asked, old in before if (name, asked) == (program, query)]
        changed = [f"{row} instead of {old}" for row, old in zip(rows, then, strict=False) if row != old]
        if len(rows) != len(then):
            changed.append(f"{len(rows)} rows instead of {len(then)}")
        findings += [f"[the past changes nothing] {program}: {what}" for what in changed]
    return findings


async def _until_forgotten(world: World) -> list[str]:
    """Wait until everything past its retention is gone; return what stays."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE
    while left := _counted(world, FORGOTTEN):
        if loop.time() > until:
            return [f"[what ended long ago is forgotten] {what}" for what in left]
        await asyncio.sleep(RETENTION_PAUSE_SECONDS)
    return []


def _bring_back(world: World) -> None:
    for message in world.past.messages:
        world.broker.append(message)
    for target, request in world.past.calls:
        world.network.resend(target, request)


async def _ask_about(world: World, branches: Sequence[Any]) -> list[str]:
    """Ask about every branch there was; return the answers that are not what was decided."""
    findings = []
    for branch_id, transaction_id, state in branches:
        path = f"/transactions/{transaction_id}/inquiries"
        reply = await world.call("POST", "coordinator", path, {"branchId": branch_id})
        told = reply.json().get("decision")
        if told != DECISIONS[state]:
            findings.append(f"[the past is known] branch {branch_id}, {state}: the coordinator says {told}")
    return findings


async def _until_quiet(world: World, operator: Operator) -> list[str]:
    """Wait until every record was dealt with and every letter of it is settled; return what isn't."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE
    while _behind(world) or _counted(world, UNSETTLED):
        if loop.time() > until:
            return [f"[the past is dealt with] {what}" for what in _counted(world, UNSETTLED)]
        await operator.replay_all()
        await asyncio.sleep(LOOK)
    return []


def _behind(world: World) -> bool:
    """Say whether a program has records that it hasn't committed."""
    return any(
        offset < len(world.broker.log_of(partition))
        for program in world.programs
        for partition, offset in world.broker.committed(f"handfast-{program}").items()
    )


def _counted(world: World, queries: Mapping[str, Sequence[str]]) -> list[str]:
    """Return which of some counts aren't zero."""
    return [
        f"{program}: {query} is {rows[0][0]}" for program, query, rows in _all(world, queries) if rows[0][0]
    ]


def _all(world: World, queries: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, list[Any]]]:
    for program, some in queries.items():
        for query in some:
            yield program, query, _rows(world, program, query)


def _rows(world: World, program: str, query: str) -> list[Any]:
    def work(connection: Connection) -> list[Any]:
        return [tuple(row) for row in connection.exec_driver_sql(query)]

    return world.hosts[program].store.write_now(work)
