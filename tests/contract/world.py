"""One participant in a world of its own: a store, a clock to turn by hand, and its HTTP door."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx
from prometheus_client import CollectorRegistry
from sqlmodel import SQLModel

from shared.bell import Bell
from shared.clock import Millis, iso
from shared.database.port import Database
from shared.errors import Unreachable
from shared.health import Health
from shared.http.application import create_api
from shared.identity import ulids
from shared.messaging.broker import Message
from shared.messaging.outbox import Outbox, oldest
from shared.settings import Settings
from shared.tcc.alarms import Alarms
from shared.tcc.fence import Fence
from shared.tcc.inquiry import Decision, Settled
from shared.tcc.participant import Command, ParticipantHost
from shared.tcc.protocol import Phase, Sort, State, sort_answer
from shared.tcc.routes import reservation_routes
from shared.tcc.sweeper import Sweeper
from shared.telemetry import Metrics
from tests.contract.cases import Case, Ledger

SKEW_ALLOWANCE_MS = 30_000
PAST_EVERY_LEASE_MS = 5_000


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: Millis = 1_790_000_000_000) -> None:
        self._now = now

    def now(self) -> Millis:
        return self._now

    def advance(self, by: Millis) -> None:
        self._now += by


class Coordinator:
    """Answers inquiries as told; asked: who asked about what.

    over: the transactions that ended so long ago that their branches may be forgotten; away: whether it
    answers nothing about that.
    """

    def __init__(self) -> None:
        self.answers: list[Decision | Exception] = []
        self.asked: list[tuple[str, str]] = []
        self.over: set[str] = set()
        self.away = False

    async def ask(self, transaction_id: str, branch_id: str) -> Decision:
        self.asked.append((transaction_id, branch_id))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def forgettable(self, branches: Sequence[Settled]) -> frozenset[str]:
        if self.away:
            raise Unreachable
        return frozenset(one.branch_id for one in branches if one.transaction_id in self.over)


@dataclass
class World:
    case: Case
    database: Database
    clock: HandClock
    host: ParticipantHost[Any]
    outbox: Outbox
    client: httpx.AsyncClient
    registry: CollectorRegistry
    sweeper: Sweeper[Any]
    coordinator: Coordinator

    @property
    def path(self) -> str:
        return f"/api/v1/{self.case.participant.collection}"

    async def try_(
        self,
        branch_id: str = "branch-1",
        transaction_id: str = "tx-1",
        *,
        claim: Mapping[str, Any] | None = None,
        deadline: Millis | None = None,
    ) -> httpx.Response:
        """Try once over HTTP. deadline: ten minutes from now unless told."""
        body = self.case.claim(transaction_id) if claim is None else claim
        at = self.clock.now() + 600_000 if deadline is None else deadline
        headers = {
            "TCC-Transaction-Id": transaction_id,
            "TCC-Branch-Id": branch_id,
            "TCC-Deadline": iso(at),
        }
        return await self.client.post(self.path, json=dict(body), headers=headers)

    async def confirm(self, branch_id: str = "branch-1", transaction_id: str = "tx-1") -> httpx.Response:
        return await self.client.put(
            f"{self.path}/{branch_id}", headers={"TCC-Transaction-Id": transaction_id}
        )

    async def cancel(
        self, branch_id: str = "branch-1", transaction_id: str = "tx-1", reason: str = "changed-my-mind"
    ) -> httpx.Response:
        headers = {"TCC-Transaction-Id": transaction_id, "TCC-Reason": reason}
        return await self.client.delete(f"{self.path}/{branch_id}", headers=headers)

    async def tried(self, *arguments: str, **named: Any) -> httpx.Response:
        """Try, as often as it takes to be certain."""
        return await self.certain(lambda: self.try_(*arguments, **named))

    async def confirmed(self, *arguments: str) -> httpx.Response:
        return await self.certain(lambda: self.confirm(*arguments))

    async def cancelled(self, *arguments: str) -> httpx.Response:
        return await self.certain(lambda: self.cancel(*arguments))

    async def certain(self, call: Any) -> httpx.Response:
        """Repeat a call while its answer is unknown, as a coordinator does."""
        for _ in range(20):
            response: httpx.Response = await call()
            if sort_answer(response.status_code) is not Sort.UNKNOWN:
                return response
            self.clock.advance(PAST_EVERY_LEASE_MS)
        raise AssertionError(f"still uncertain: {response.status_code} {response.text}")

    async def until(self, look: Callable[[], Awaitable[Any]]) -> None:
        """Wait until a look finds something."""
        async with asyncio.timeout(60):
            while not await look():  # noqa: ASYNC110 - what is looked at lies in a database, which has no event
                await asyncio.sleep(0.001)

    async def standalone(self, **extra: Any) -> httpx.Response:
        """Make a standalone reservation."""
        body = dict(self.case.claim("tx-1")) | extra
        response = await self.client.post(self.path, json=body)
        if sort_answer(response.status_code) is Sort.UNKNOWN:
            raise AssertionError("a standalone Try can't be repeated; give it a participant without faults")
        return response

    async def show(self, branch_id: str = "branch-1") -> Any:
        response = await self.client.get(f"{self.path}/{branch_id}")
        assert response.status_code == 200, response.text
        return response.json()

    async def fence(self, branch_id: str = "branch-1") -> Fence | None:
        return await self.host.find(branch_id)

    async def state(self, branch_id: str = "branch-1") -> State:
        held = await self.fence(branch_id)
        return State.ABSENT if held is None else held.state

    async def ledger(self) -> Ledger:
        return await self.database.read(self.case.ledger)

    async def outgoing(self) -> list[Message]:
        """Return what waits in the outbox, in order."""
        rows = await self.database.read(lambda connection: oldest(connection, 10_000))
        return [message for _, message in rows]

    def command(
        self, phase: Phase, branch_id: str = "branch-1", transaction_id: str = "tx-1", **more: Any
    ) -> Command[Any]:
        if phase is Phase.TRY:
            claim = self.case.participant.claim.model_validate(self.case.claim(transaction_id), by_alias=True)
            more = {"claim": claim, "expires_at": self.clock.now() + 600_000} | more
        return Command(phase=phase, branch_id=branch_id, transaction_id=transaction_id, **more)

    def conflicts(self) -> float:
        """Return how many alarms were raised."""
        return sum(
            sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == "handfast_conflicts_total"
        )

    def rehosted(self, database: Database) -> ParticipantHost[Any]:
        """Return another host of the same participant, over another way to the store."""
        return _host(self.case, database, self.clock, self.outbox, Bell(), None)


@asynccontextmanager
async def world_of(case: Case, database: Database) -> AsyncIterator[World]:
    """Build a world over a fresh database."""
    await database.start()
    await database.write(
        lambda connection: SQLModel.metadata.create_all(connection, tables=list(case.tables))
    )
    await database.write(case.prepare)
    clock = HandClock()
    registry = CollectorRegistry()
    outbox = Outbox(clock)
    host = _host(case, database, clock, outbox, Bell(poll=0.01), Alarms(registry))
    coordinator = Coordinator()
    sweeper = Sweeper(host, coordinator, randomness=random.Random(7), registry=registry)
    stage = _stage(case.participant.name, host)
    stage.host = host
    transport = httpx.ASGITransport(stage.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here.test") as client:
        yield World(case, database, clock, host, outbox, client, registry, sweeper, coordinator)
    await database.close()


class Stage:
    """A participant's application, built once (which takes longer than a test) and lent to many worlds."""

    def __init__(self, host: ParticipantHost[Any]) -> None:
        self.host = host
        self.app = create_api(
            title="under contract",
            description="",
            routers=[reservation_routes(cast(Any, self), base_url="http://here.test")],
            settings=Settings(_env_file=None),
            health=Health(),
            metrics=Metrics(CollectorRegistry()),
        )

    def __getattr__(self, name: str) -> Any:
        # It stands in for the host of whoever plays on it now.
        return getattr(self.host, name)


_stage_of: dict[str, Stage] = {}


def _stage(name: str, host: ParticipantHost[Any]) -> Stage:
    if name not in _stage_of:
        _stage_of[name] = Stage(host)
    return _stage_of[name]


def _host(
    case: Case,
    database: Database,
    clock: HandClock,
    outbox: Outbox,
    bell: Bell,
    alarms: Alarms | None,
) -> ParticipantHost[Any]:
    return ParticipantHost(
        participant=case.participant,
        database=database,
        clock=clock,
        new_id=ulids(clock, random.Random(1)),
        outbox=outbox,
        bell=bell,
        source="contract",
        alarms=alarms,
        skew_allowance_ms=SKEW_ALLOWANCE_MS,
        effect_timeout=case.effect_timeout,
    )
