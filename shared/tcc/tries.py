"""How Trys come to the database where many want the same: after a look, or many together.

A participant that reads before its transaction (`foresee`) is asked again when what it read is outdated by
then, and so often only. One that can hold many at once (`on_tries`) gets what waits as one batch in one
transaction; where the batch doesn't fit as a whole, each Try is done by itself, in the order of their
coming.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Protocol

from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import Connection

from shared.database.failures import is_store_failure
from shared.database.port import Database, Savepoint, Work
from shared.errors import Outdated, Transient
from shared.tcc.branches import Branches, Step
from shared.tcc.command import C, Command
from shared.telemetry import trace

LOOKS: Final = 10
"""How often a Try looks before it is given back as not possible now."""

BATCH: Final = 256
"""The most Trys in one transaction."""

MOST_WAITING: Final = 10_000
"""More than so many Trys that wait are turned away."""


class Tries(Protocol[C]):
    """A way for Trys into the database."""

    async def take(self, command: Command[C]) -> Step:
        """Do a Try in a local transaction; raise what `Branches.take` raises."""
        ...


class Foreseen(Generic[C]):
    """Each Try after a look of its own. registry: where the looks that were in vain are counted."""

    def __init__(
        self,
        foresee: Callable[[Connection, C], Any],
        branches: Branches[C],
        database: Database,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._foresee = foresee
        self._branches = branches
        self._database = database
        self._outdated = Counter(
            "handfast_tries_outdated",
            "Trys that found something else in their transaction than they had seen before it.",
            registry=registry,
        )

    async def take(self, command: Command[C]) -> Step:
        claim = command.claim
        assert claim is not None
        for _ in range(LOOKS):
            seen = await self._database.read(lambda connection: self._foresee(connection, claim))
            try:
                return await self._database.write(self._with(command._replace(foreseen=seen)))
            except Outdated:
                # Whoever outdated it got through, so there is no standstill in which all look again at once.
                self._outdated.inc()
        raise Transient(
            f"What this needs changed {LOOKS} times while it was looked at. Try again.", slug="contended"
        )

    def _with(self, command: Command[C]) -> Work[Step]:
        return lambda connection: self._branches.take(connection, command)


class Gathered(Generic[C]):
    """Whoever comes while a batch is being written waits for the next one; there is one writer.

    registry: where the Trys are counted, by whether their batch fitted as a whole.
    """

    def __init__(
        self,
        branches: Branches[C],
        database: Database,
        one_by_one: Callable[[Connection, Sequence[Command[C]]], list[Step | Exception]],
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._branches = branches
        self._database = database
        self._one_by_one = one_by_one
        self._waiting: list[_Waiting[C]] = []
        self._writer: asyncio.Task[None] | None = None
        self._gathered = Counter(
            "handfast_tries_gathered",
            "Trys that were gathered, by whether their batch was done together or each apart.",
            ["done"],
            registry=registry,
        )

    async def take(self, command: Command[C]) -> Step:
        if len(self._waiting) >= MOST_WAITING:
            raise Transient("Too many others are waiting. Try again.", slug="contended")
        waiting = _Waiting(command)
        self._waiting.append(waiting)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="gathered Trys")
        return await waiting.step

    async def _write(self) -> None:
        """Write batches until nobody waits any more."""
        # A batch belongs to nobody's trace; the task would otherwise go on in that of whoever came first.
        try:
            with trace(None):
                while self._waiting:
                    batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                    await self._write_batch(batch)
        finally:
            self._writer = None

    async def _write_batch(self, batch: Sequence["_Waiting[C]"]) -> None:
        commands = [waiting.command for waiting in batch]
        steps: Sequence[Step | Exception]
        try:
            steps, done = await self._database.write(lambda connection: self._take(connection, commands))
            self._gathered.labels(done).inc(len(batch))
        except Exception as error:  # noqa: BLE001 - every waiting caller must learn what became of its Try
            steps = [error] * len(batch)
        except BaseException:
            # The program ends here: whoever waits is not to wait for ever.
            for waiting in (*batch, *self._waiting):
                waiting.step.cancel()
            raise
        for waiting, step in zip(batch, steps, strict=True):
            waiting.answer(step)

    def _take(
        self, connection: Connection, commands: Sequence[Command[C]]
    ) -> tuple[Sequence[Step | Exception], str]:
        if len(commands) > 1:
            try:
                with Savepoint(connection):
                    return self._branches.take_together(connection, commands), "together"
            except Exception as error:
                if is_store_failure(error):
                    # Nothing in this transaction can be trusted to commit.
                    raise
        # Whatever it was that kept them apart, it meets its own Try again below.
        return self._one_by_one(connection, commands), "apart"


class _Waiting(Generic[C]):
    def __init__(self, command: Command[C]) -> None:
        self.command = command
        self.step: asyncio.Future[Step] = asyncio.get_running_loop().create_future()

    def answer(self, step: Step | Exception) -> None:
        if self.step.done():  # Its caller was cancelled: the write stands, nobody waits for it.
            return
        if isinstance(step, Exception):
            self.step.set_exception(step)
        else:
            self.step.set_result(step)
