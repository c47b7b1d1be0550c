"""A coordinator alone on virtual time, with participants that answer as the test tells them."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pydantic_core
from sqlmodel import SQLModel

from coordinator.branch import Policy
from coordinator.caller import ParticipantCaller
from coordinator.coordinator import BranchRequest, Coordinator, TransactionRequest
from coordinator.driver import Driver
from coordinator.inquiries import Inquiries
from coordinator.outcomes import Outcomes
from coordinator.participants import Registration, Registry
from coordinator.tables import TABLES
from coordinator.transaction import Mode, Transaction
from shared.bell import Bell
from shared.database.inline import InlineDatabase
from shared.errors import Unreachable
from shared.http.caller import Reply
from shared.identity import ulids
from shared.messaging.broker import Message, Record
from shared.messaging.outbox import Outbox, oldest, remove
from tests.simulation.loop import VirtualClock

LOST = None
"""An answer that never comes."""


class ScriptedCaller:
    """Answers each (method, participant) from its own list, the last of which stays."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._answers: dict[tuple[str, str], list[Reply | None]] = {}
        self._delays: dict[tuple[str, str], float] = {}
        self.calls: list[tuple[str, str]] = []
        self.headers: list[Mapping[str, str]] = []

    def script(self, method: str, participant: str, *answers: Reply | None, delay: float = 0.0) -> None:
        self._answers[method, participant] = list(answers)
        self._delays[method, participant] = delay

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,  # noqa: ARG002 - the port's signature
        timeout: float,  # noqa: ASYNC109 - the port's signature
    ) -> Reply:
        participant = url.removeprefix("http://").partition(".")[0]
        self.calls.append((method, participant))
        self.headers.append(dict(headers or {}))
        answers = self._answers.get((method, participant), [Reply(201 if method == "POST" else 204)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        await asyncio.sleep(min(self._delays.get((method, participant), 0.001), timeout))
        if answer is LOST or self._delays.get((method, participant), 0.0) >= timeout:
            await asyncio.sleep(max(0.0, timeout - self._delays.get((method, participant), 0.0)))
            raise Unreachable(f"{participant} did not answer within {timeout:g} s.")
        return answer

    async def close(self) -> None:
        """Nothing is open."""

    def count(self, method: str, participant: str) -> int:
        return self.calls.count((method, participant))


class World:
    """Everything a test of the coordinator needs."""

    def __init__(self, confirm: str, database: InlineDatabase, calls_in_flight: int = 256) -> None:
        loop = asyncio.get_running_loop()
        self.clock = VirtualClock(loop)
        self.database = database
        self.caller = ScriptedCaller(self.clock)
        registry = Registry(
            [
                Registration(
                    name=name,
                    url=f"http://{name}.test",
                    path="/api/v1/things",
                    confirm=confirm,
                    calls_in_flight=calls_in_flight,
                )
                for name in ("order", "stock", "payment")
            ]
        )
        self.new_id = ulids(self.clock, random.Random(1))
        self.outbox = Outbox(self.clock)
        self.bell = Bell()
        self.policy = Policy(published=registry.published)
        participant_caller = ParticipantCaller(self.caller, registry, self.clock, random.Random(2))
        self.driver = Driver(
            database=self.database,
            outbox=self.outbox,
            caller=participant_caller,
            registry=registry,
            policy=self.policy,
            clock=self.clock,
            bell=self.bell,
        )
        self.recovering: asyncio.Task[None] | None = None
        self.coordinator = Coordinator(
            database=self.database,
            driver=self.driver,
            registry=registry,
            clock=self.clock,
            new_id=self.new_id,
            bell=self.bell,
        )
        self.inquiries = Inquiries(database=self.database, driver=self.driver, clock=self.clock)
        self.outcomes = Outcomes(
            database=self.database,
            outbox=self.outbox,
            driver=self.driver,
            policy=self.policy,
            clock=self.clock,
            bell=self.bell,
        )

    async def begin(
        self,
        transaction_id: str | None = None,
        *participants: str,
        mode: Mode = Mode.AUTO,
        span: int = 10_000,
        body_hash: str = "same",
    ) -> tuple[Transaction, bool]:
        names = participants or ("order", "stock", "payment")
        return await self.coordinator.begin(
            TransactionRequest(
                transaction_id=transaction_id,
                mode=mode,
                timeout=span,
                initiator="order" if "order" in names else None,
                branches=[BranchRequest(name, {"of": name}) for name in names],
                body_hash=body_hash,
            )
        )

    async def stop(self) -> None:
        """Stop the driver."""
        if self.recovering is not None:
            self.recovering.cancel()
            await asyncio.gather(self.recovering, return_exceptions=True)
        await self.driver.stop()

    async def published(self) -> list[Message]:
        """Take what waits in the outbox."""
        rows = await self.database.write(lambda connection: oldest(connection, 1_000))
        await self.database.write(lambda connection: remove(connection, [row for row, _ in rows]))
        return [message for _, message in rows]

    async def acknowledge(self, messages: list[Message], outcome: str = "confirmed") -> None:
        """Report an outcome for each Confirm."""
        records = [outcome_record(message, outcome) for message in messages]
        assert await self.outcomes.handle(records) == [None] * len(records)


def outcome_record(message: Message, outcome: str) -> Record:
    """Return the record with which a participant answers a Confirm."""
    confirm = pydantic_core.from_json(message.value or b"")
    value = {
        "transactionId": confirm["transactionId"],
        "branchId": confirm["reservationId"],
        "outcome": outcome,
        "at": "2026-11-21T09:30:00Z",
    }
    if outcome != "confirmed":
        value["reason"] = "FrozenError"
    return Record("tcc-outcomes", 0, 0, 0, 0, None, pydantic_core.to_json(value))


@asynccontextmanager
async def world(
    confirm: str = "kafka:things",
    *,
    recovery: bool = True,
    database: InlineDatabase | None = None,
    calls_in_flight: int = 256,
) -> AsyncIterator[World]:
    """Run a coordinator, with its recovery loop, until the test is done with it."""
    one = World(confirm, database or InlineDatabase(), calls_in_flight)
    await one.database.start()
    await one.database.write(lambda connection: SQLModel.metadata.create_all(connection, tables=list(TABLES)))
    if recovery:
        one.recovering = asyncio.create_task(one.driver.run())
    try:
        yield one
    finally:
        await one.stop()
        await one.database.close()


def problem(slug: str, status: int = 409) -> Reply:
    body = {"type": f"urn:handfast:problem:{slug}", "status": status, "detail": f"It is {slug}."}
    return Reply(status, {}, pydantic_core.to_json(body))
