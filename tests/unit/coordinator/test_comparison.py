"""A difference is believed only if the log says the same before and after the participant was read."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pydantic_core
from sqlmodel import SQLModel

from coordinator import log
from coordinator.branch import Branch, BranchState
from coordinator.comparison import Comparison
from coordinator.inspection import Branches, Inspector
from coordinator.log import Change
from coordinator.participants import Registration, Registry
from coordinator.reconciliation import Kind, Seen
from coordinator.tables import TABLES
from coordinator.transaction import Mode, State, Transaction
from shared.clock import iso
from shared.database.inline import InlineDatabase
from shared.http.caller import Reply
from shared.messaging.outbox import Outbox
from shared.tcc.protocol import State as Held
from tests.contract.world import HandClock

HOUR = 3_600_000
NOW = HandClock().now()
OLD = NOW - HOUR

Answer = Callable[[str, str], Reply]


class Scripted:
    """Answers every request by a function of its method and url."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002 - the port's signature
        body: bytes | None = None,  # noqa: ARG002 - the port's signature
        timeout: float,  # noqa: ARG002, ASYNC109 - the port's signature
    ) -> Reply:
        return self._answer(method, url)

    async def close(self) -> None:
        """Nothing is open."""


class World:
    """A log with one transaction, and a participant that answers as the test says."""

    def __init__(self, database: InlineDatabase, answer: Answer) -> None:
        self.database = database
        [self.participant] = Registry(
            [Registration(name="stock", url="http://stock.test", path="/api/v1/stocks")]
        )
        self.comparison = Comparison(
            database=database,
            inspector=Inspector(Scripted(answer)),
            clock=HandClock(),
            grace=60_000,
            lag=lambda: 0,
        )

    def write(self, state: State, branch: BranchState) -> Transaction:
        one = transaction(state, branch)
        assert self.database.write_now(lambda connection: log.create(connection, Change(one))) is None
        return one

    def move(self, state: State, branch: BranchState) -> None:
        change = Change(transaction(state, branch))
        self.database.write_now(lambda connection: log.save(connection, Outbox(HandClock()), [change], OLD))


def transaction(state: State, branch: BranchState) -> Transaction:
    branches = (Branch("b", "stock", {}, state=branch),)
    return Transaction("t", Mode.AUTO, state, 1, OLD, None, branches, "", OLD, OLD, decided_at=OLD)


@asynccontextmanager
async def world(answer: Answer) -> AsyncIterator[World]:
    database = InlineDatabase()
    await database.start()
    database.write_now(lambda connection: SQLModel.metadata.create_all(connection, tables=list(TABLES)))
    yield World(database, answer)
    await database.close()


def told(state: Held) -> Reply:
    item: dict[str, Any] = {"id": "b", "transactionId": "t", "state": state, "updatedAt": iso(OLD)}
    return Reply(200, {}, pydantic_core.to_json({"items": [item], "lag": 0}))


def listed(state: Held) -> Branches:
    return Branches([Seen("b", "t", state, OLD, OLD)], 0)


async def test_a_difference_that_stays_is_found() -> None:
    async with world(lambda *_: told(Held.TRIED)) as one:
        one.write(State.CONFIRMED, BranchState.CONFIRMED)
        [finding] = await one.comparison.listed(one.participant, listed(Held.TRIED))
        assert finding.kind is Kind.ROLLED_BACK
        assert finding.evidence["coordinator"]["branch"] == "CONFIRMED"
        assert finding.evidence["participant"]["state"] == "TRIED"


async def test_a_participant_that_has_caught_up_meanwhile_is_no_finding() -> None:
    async with world(lambda *_: told(Held.CONFIRMED)) as one:
        one.write(State.CONFIRMED, BranchState.CONFIRMED)
        assert await one.comparison.listed(one.participant, listed(Held.TRIED)) == []


async def test_a_log_that_moved_around_the_second_look_is_no_finding() -> None:
    """The participant was read in between: nobody knows what the log said at that moment."""
    here: list[World] = []

    def moving(_method: str, _url: str) -> Reply:
        here[0].move(State.CONFIRMED, BranchState.CONFIRMED)
        return told(Held.TRIED)

    async with world(moving) as one:
        here.append(one)
        one.write(State.CONFIRMING, BranchState.CONFIRMING)
        assert await one.comparison.listed(one.participant, listed(Held.TRIED)) == []


async def test_what_is_not_listed_is_asked_for_and_missed() -> None:
    nothing = Reply(200, {}, b'{"items": [], "lag": 0}')
    async with world(lambda *_: nothing) as one:
        written = one.write(State.CONFIRMED, BranchState.CONFIRMED)
        [finding] = await one.comparison.logged(one.participant, [written])
        assert finding.kind is Kind.ABSENT


async def test_a_participant_that_can_not_list_is_read_one_by_one() -> None:
    there = Reply(200, {}, b'{"id": "b", "state": "TRIED"}')
    async with world(lambda *_: there) as one:
        written = one.write(State.CONFIRMED, BranchState.CONFIRMED)
        findings, left = await one.comparison.read_each(one.participant, [written])
        assert ([finding.kind for finding in findings], left) == ([Kind.ROLLED_BACK], 0)


async def test_what_a_foreign_participant_does_not_tell_is_counted_and_never_missed() -> None:
    for answer in (Reply(404), Reply(405), Reply(200, {}, b'{"state": "reserved"}'), Reply(200, {}, b"[]")):
        async with world(lambda *_, answer=answer: answer) as one:
            written = one.write(State.CONFIRMED, BranchState.CONFIRMED)
            assert await one.comparison.read_each(one.participant, [written]) == ([], 1)
