"""What the coordinator's log promises on every store, whoever else is at it at the same moment."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from sqlmodel import SQLModel

from coordinator import log
from coordinator.branch import Branch, BranchState
from coordinator.log import Change, Stale
from coordinator.tables import TABLES
from coordinator.transaction import Mode, State, Transaction, decide
from shared.clock import SystemClock
from shared.database.port import Database
from shared.database.sqlite import SqliteDatabase
from shared.messaging.broker import Message
from shared.messaging.outbox import Outbox, oldest
from tests.backing import Backing

NOW: Final = 1_800_000_000_000
AT_ONCE: Final = 12
OUTBOX: Final = Outbox(SystemClock())


@pytest.fixture
def store(backing: Backing, tmp_path: Path) -> Database:
    if backing.database is None:
        return SqliteDatabase(tmp_path / "coordinator.db")
    return backing.store("coordinator_log")


@pytest.fixture
async def database(store: Database) -> AsyncIterator[Database]:
    await store.start()
    await store.write(lambda connection: SQLModel.metadata.create_all(connection, tables=list(TABLES)))
    yield store
    await store.close()


def begun(transaction_id: str, body_hash: str = "same") -> Transaction:
    branches = (Branch(f"{transaction_id}-stock", "stock", {"qty": 1}, state=BranchState.TRIED),)
    return Transaction(
        transaction_id, Mode.AUTO, State.TRYING, 10_000, NOW + 10_000, None, branches, body_hash, NOW, NOW
    )


async def create(database: Database, one: Transaction, due_at: int = NOW) -> Transaction | None:
    change = Change(one, events=[{"event": "state", "state": one.state.value}], due_at=due_at)
    return await database.write(lambda connection: log.create(connection, change))


async def save(database: Database, change: Change) -> list[Transaction]:
    return await database.write(lambda connection: log.save(connection, OUTBOX, [change], NOW + 1))


async def states(database: Database, transaction_id: str) -> list[Any]:
    events = await database.read(lambda connection: log.timeline(connection, transaction_id))
    return [event["state"] for event in events]


async def published(database: Database) -> list[str]:
    return await database.read(lambda connection: [message.topic for _, message in oldest(connection, 100)])


def decision(one: Transaction, to: State) -> Change:
    return Change(decide(one, to, NOW), [Message(f"to-{to}", None, b"{}")], [{"event": "state", "state": to}])


async def test_of_many_that_begin_one_id_one_begins_it_and_all_hear_of_that(database: Database) -> None:
    bodies = [f"body-{number}" for number in range(AT_ONCE)]
    taken = await asyncio.gather(*(create(database, begun("t", body)) for body in bodies))
    [first] = [body for body, found in zip(bodies, taken, strict=True) if found is None]
    assert {found.body_hash for found in taken if found is not None} == {first}
    assert await states(database, "t") == ["TRYING"]


async def test_of_many_that_decide_at_once_one_does_and_the_others_leave_nothing(database: Database) -> None:
    one = begun("t")
    await create(database, one)
    wanted = [State.CONFIRMING, State.CANCELLING] * (AT_ONCE // 2)
    results = await asyncio.gather(
        *(save(database, decision(one, to)) for to in wanted), return_exceptions=True
    )
    [(saved, to)] = [
        (result[0], to) for result, to in zip(results, wanted, strict=True) if isinstance(result, list)
    ]
    assert Counter(type(result) for result in results)[Stale] == AT_ONCE - 1
    assert saved.state is to
    assert await database.read(lambda connection: log.read(connection, "t")) == saved
    assert await states(database, "t") == ["TRYING", to.value]
    assert await published(database) == [f"to-{to}"]


async def test_what_is_due_is_taken_by_one_of_those_who_look(database: Database) -> None:
    ids = [f"t-{number:02}" for number in range(40)]
    for transaction_id in ids:
        await create(database, begun(transaction_id))
    await create(database, begun("later"), due_at=NOW + 1)

    async def take() -> list[str]:
        taken = await database.write(lambda connection: log.lease_due(connection, NOW, NOW + 5_000, 5))
        return [one.transaction_id for one in taken]

    rounds = [await asyncio.gather(*(take() for _ in range(4))) for _ in range(4)]
    taken = [transaction_id for looks in rounds for look in looks for transaction_id in look]
    assert sorted(taken) == ids, "each was taken, and once"
    again = await database.write(lambda connection: log.lease_due(connection, NOW + 5_000, NOW + 9_000, 100))
    assert {one.transaction_id for one in again} == {*ids, "later"}, "a lease ends"


async def test_a_saved_transaction_is_read_as_it_was_written(database: Database) -> None:
    one = begun("t")
    await create(database, one)
    branch = one.branches[0]._replace(problem={"slug": "sold-out"}, last_error="é ☃", added=True, attempts=3)
    changed = one._replace(branches=(branch,), attention="look", traceparent="00-a-b-01")
    [saved] = await save(database, Change(changed))
    found = await database.read(lambda connection: log.read_many(connection, ["t", "unheard-of"]))
    # What is told at the beginning alone stays as it was told then.
    assert found == {"t": saved._replace(traceparent=None)}
    bulk = await database.read(lambda connection: log.read_bulk(connection, ["t", "unheard-of"]))
    assert bulk == found


async def test_pages_are_in_the_order_of_ids_byte_by_byte(database: Database) -> None:
    ids = ["B", "a", "_", "b", "A", "-", "0"]
    for transaction_id in ids:
        await create(database, begun(transaction_id))
    found: list[str] = []
    while True:
        after = found[-1] if found else None
        page = await database.read(
            lambda connection, after=after: log.page(  # type: ignore[misc]
                connection, state=State.TRYING, attention=False, after=after, most=2
            )
        )
        if not page:
            break
        found += [one.transaction_id for one in page]
    assert found == sorted(ids)
