"""What a single writer never meets: two transactions at once, neither of which sees the other's rows.

On PostgreSQL a statement that waits for a row goes on with the row as it is then, and with everything else as
it was before the wait.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.util import await_only

from shared.clock import SystemClock
from shared.database.place import Schema
from shared.database.port import Work
from shared.database.postgres import PostgresDatabase
from shared.identity import ulids
from shared.messaging import letters
from shared.messaging.broker import Record
from shared.messaging.failure import failure_of
from shared.messaging.letters import LetterState
from shared.messaging.listener import Subject
from shared.messaging.outbox import Outbox
from shared.messaging.retry import Retry
from shared.migrations import upgrade
from stock_service.drops import claims, offers
from stock_service.drops.domain import ReturnReason
from stock_service.drops.entry import Entered, Want
from stock_service.drops.issuing import issuing_listener
from stock_service.drops.journal import Journal
from stock_service.drops.messages import Issue, issue_message, read_issue
from tests.postgres import Server

NOW = 1_790_000_000_000


@pytest.fixture
def migrated(postgres: Server) -> Schema:
    schema = postgres.emptied("two_writers")
    upgrade(schema, "stock")
    return schema


@pytest.fixture
async def database(migrated: Schema) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(migrated)
    await database.start()
    yield database
    await database.close()


async def overlapping(
    database: PostgresDatabase, first: Callable[[Connection], object], second: Callable[[Connection], object]
) -> None:
    """Run two pieces of work so that the first commits while the second waits for it."""
    done, go_on = asyncio.Event(), asyncio.Event()

    def held_open(connection: Connection) -> None:
        first(connection)
        done.set()
        await_only(go_on.wait())

    holding = asyncio.create_task(database.write(held_open))
    await done.wait()
    waiting = asyncio.create_task(database.write(second))
    await until_one_waits(database)
    go_on.set()
    await asyncio.gather(holding, waiting)


async def until_one_waits(database: PostgresDatabase) -> None:
    """Return once a transaction waits for another one's row."""
    statement = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND application_name = current_setting('application_name')"
    )
    async with asyncio.timeout(10):
        while not await database.read(lambda c: c.exec_driver_sql(statement).scalar_one()):  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_what_is_issued_at_once_is_all_counted(database: PostgresDatabase) -> None:
    journal = Journal(
        Outbox(SystemClock()), SystemClock(), source="test", republish_ms=1_000, republish_max_ms=2_000
    )
    await database.write(lambda connection: offers.put(connection, "launch", {"quantity": 10}, NOW))
    wants = [Want(claim_id=name, code="launch", customer_id=name) for name in ("ann", "bob")]
    await database.write(lambda connection: journal.enter(connection, wants))

    def issue(name: str) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            assert journal.issue(connection, Issue(claimId=name, code="launch", customerId=name))
            offers.count_issued(connection, "launch")

        return work

    await overlapping(database, issue("ann"), issue("bob"))
    offer = await database.read(lambda connection: offers.read(connection, "launch"))
    assert offer.issued == 2


@pytest.mark.parametrize("how", ["given back", "issued"])
async def test_whoever_wants_a_claim_waits_for_its_drop_first(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    journal = Journal(
        Outbox(SystemClock()), SystemClock(), source="test", republish_ms=1_000, republish_max_ms=2_000
    )
    await database.write(lambda connection: offers.put(connection, "launch", {"quantity": 10}, NOW))
    want = Want(claim_id="ann", code="launch", customer_id="ann")
    [entered] = await database.write(lambda connection: journal.enter(connection, [want]))
    assert isinstance(entered, Entered)
    message = issue_message(entered.claim, "test")
    record = Record(message.topic, 0, 7, NOW, 0, message.key, message.value)
    held, go_on = asyncio.Event(), asyncio.Event()
    runs: list[object] = []
    write = database.write

    def counted(work: Work[Any]) -> Awaitable[Any]:
        def run(connection: Connection) -> Any:
            runs.append(work)
            return work(connection)

        return write(run)

    def enter_again(connection: Connection) -> None:
        offers.lock(connection, "launch")
        held.set()
        await_only(go_on.wait())
        assert claims.find(connection, "ann") is not None

    def give_back(connection: Connection) -> bool:
        return journal.give_back(connection, read_issue(message.value), ReturnReason.DEAD_LETTERED)

    monkeypatch.setattr(database, "write", counted)
    door = issuing_listener(database, journal, Retry.parse("fixed:1s,3"), lambda _: None)
    entering = asyncio.create_task(database.write(enter_again))
    await held.wait()
    wanting = asyncio.ensure_future(door.handle([record]) if how == "issued" else database.write(give_back))
    await until_one_waits(database)
    go_on.set()
    await asyncio.gather(entering, wanting)

    assert len(runs) == 2, "they waited for each other, and one of them had to run again"


async def test_a_letter_that_is_settled_while_it_is_raised_becomes_a_new_one(
    database: PostgresDatabase,
) -> None:
    new_id = ulids(SystemClock(), random.Random(1))
    record = Record("stock-adjustment", 0, 7, NOW, 0, b"k", b"v", ())

    def keep(connection: Connection) -> letters.DeadLetter:
        return letters.keep(
            connection,
            record,
            subject=Subject("branch-1", "tx-1"),
            failure=failure_of(ValueError("no")),
            attempts=4,
            group="stock",
            now=NOW,
            new_id=new_id,
        )

    old = await database.write(keep)
    await overlapping(
        database, lambda connection: letters.settle(connection, record.topic, ["branch-1"], NOW), keep
    )

    def states(connection: Connection) -> list[tuple[bool, str]]:
        rows = connection.exec_driver_sql("SELECT id, state FROM letter ORDER BY id").all()
        return [(row.id == old.id, row.state) for row in rows]

    found = await database.read(states)
    assert sorted(found) == [(False, LetterState.OPEN.value), (True, LetterState.SETTLED.value)]
