"""Those that are compared: the four strategies as the stock service runs them, and the design before them.

All of them work on the same kind of store (SQLite, synchronous to the disk, shared commits), write the same
rows (fence, product, customer's count) through the same code, and are called in the same way.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Final, Protocol

from prometheus_client import CollectorRegistry
from sqlalchemy import Connection

from shared.bell import Bell
from shared.clock import SystemClock
from shared.database.port import Database
from shared.errors import Refused
from shared.identity import ulids
from shared.messaging.outbox import Outbox
from shared.tcc.branches import Step
from shared.tcc.participant import Command, ParticipantHost
from shared.tcc.protocol import State
from stock_service.claim import StockClaim
from stock_service.participant import BY_STRATEGY, Strategy
from tests.contention.locks import Lock

STRATEGIES: Final = tuple(BY_STRATEGY)
OLD: Final = "lock-and-batch"
BATCH: Final = 100
"""Orders in one transaction of the old design."""


class Contender(Protocol):
    """Something that holds stock."""

    async def hold(self, command: Command[StockClaim]) -> bool:
        """Hold what a Try claims; return whether it was held, not refused. Raises Transient: try again."""
        ...

    def retries(self) -> int:
        """Return how often it looked again by itself so far."""
        ...


class Ours:
    """The stock service's participant with one of its strategies."""

    def __init__(self, strategy: Strategy, database: Database) -> None:
        self._registry = CollectorRegistry()
        self._host = host_of(strategy, database, self._registry)

    async def hold(self, command: Command[StockClaim]) -> bool:
        try:
            await self._host.handle(command)
        except Refused:
            return False
        return True

    def retries(self) -> int:
        return int(self._registry.get_sample_value("handfast_tries_outdated_total") or 0)


class LockAndBatch:
    """The design before: orders queue, and now and then up to a hundred of them go into one big transaction.

    Each of them takes the distributed lock of its product, locks the row, looks, changes it, and gives the
    lock back; the row's lock stays until the commit. Whoever ordered is answered after it. pause: seconds
    between the end of one transaction and the beginning of the next.
    """

    def __init__(self, database: Database, lock: Lock, pause: float) -> None:
        self._database = database
        self._lock = lock
        self._pause = pause
        self._branches = host_of("pessimistic", database, CollectorRegistry()).branches
        self._queue: list[tuple[Command[StockClaim], asyncio.Future[Step]]] = []

    async def hold(self, command: Command[StockClaim]) -> bool:
        done: asyncio.Future[Step] = asyncio.get_running_loop().create_future()
        self._queue.append((command, done))
        return (await done).answer.state is State.TRIED

    def retries(self) -> int:
        return 0

    async def run(self) -> None:
        """Work the queue off until cancelled."""
        while True:
            await asyncio.sleep(self._pause)
            batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
            if batch:
                await self._write(batch)

    async def _write(self, batch: Sequence[tuple[Command[StockClaim], asyncio.Future[Step]]]) -> None:
        commands = [command for command, _ in batch]
        try:
            steps = await self._database.write(lambda connection: self._transact(connection, commands))
        except Exception as error:  # noqa: BLE001 - every waiting customer must learn of it
            for _, done in batch:
                done.set_exception(error)
        else:
            for (_, done), step in zip(batch, steps, strict=True):
                done.set_result(step)

    def _transact(self, connection: Connection, commands: Sequence[Command[StockClaim]]) -> list[Step]:
        steps = []
        for command in commands:
            assert command.claim is not None
            [line] = command.claim.lines
            with self._lock(line.product_id):
                steps.append(self._branches.take(connection, command))
        return steps


def host_of(
    strategy: Strategy, database: Database, registry: CollectorRegistry
) -> ParticipantHost[StockClaim]:
    """Return the stock service's participant over a store, without its doors."""
    clock = SystemClock()
    return ParticipantHost(
        participant=BY_STRATEGY[strategy],
        database=database,
        clock=clock,
        new_id=ulids(clock, random.Random(1)),
        outbox=Outbox(clock),
        bell=Bell(),
        source="contention",
        registry=registry,
    )
