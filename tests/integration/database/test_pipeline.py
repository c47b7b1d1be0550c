"""What a transaction on a server sends together, and what it does when it trusted in vain."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import BigInteger, Column, Connection, MetaData, String, Table, bindparam, select, update
from sqlalchemy.exc import DataError, IntegrityError

from shared.database import pipeline
from shared.database.place import Schema
from shared.database.port import Savepoint, insert_new
from shared.database.postgres import CAREFUL, PostgresDatabase
from shared.database.postgres_session import Limits
from shared.database.prepared import ByKey, Prepared
from shared.errors import Refused
from tests.integration.database.conftest import NOTES

LINES = Table(
    "lines",
    MetaData(),
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("text", String),
)
CHANGE = Prepared(
    update(NOTES).where(NOTES.c.id == bindparam("which")).values(text=NOTES.c.text + bindparam("more")),
    sorted_by=("which",),
)
REPLACE = Prepared(update(NOTES).where(NOTES.c.id == bindparam("which")).values(text=bindparam("by")))
READ = Prepared(select(NOTES.c.text).order_by(NOTES.c.id))
LEAVE = Prepared(LINES.insert().inline(), ("text",))
BY_ID = ByKey(select(NOTES.c.id, NOTES.c.text), NOTES.c.id)


@pytest.fixture
async def database(schema: Schema) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(schema, limits=Limits(writers=1))
    await database.start()
    await database.write(NOTES.metadata.create_all)
    await database.write(LINES.metadata.create_all)
    yield database
    await database.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that is sent for a Prepared one, whose rows go together."""
    sent: list[str] = []
    send = pipeline._with

    def noted(connection: Connection, sql: str, use: Callable[[object], object]) -> tuple[object, object]:
        sent.append(sql.split()[0])
        return send(connection, sql, use)

    monkeypatch.setattr(pipeline, "_with", noted)
    return sent


def note(number: int, text: str) -> Callable[[Connection], bool]:
    return lambda connection: insert_new(connection, NOTES, {"id": number, "text": text})


def leave(*texts: str) -> Callable[[Connection], None]:
    return lambda connection: LEAVE.later(connection, [{"text": text} for text in texts])


async def notes(database: PostgresDatabase) -> list[str]:
    return [text for (text,) in await database.read(lambda connection: READ.rows(connection, {}))]


async def lines(database: PostgresDatabase) -> list[str]:
    statement = "SELECT text FROM lines ORDER BY id"
    return list(await database.read(lambda c: c.exec_driver_sql(statement).scalars().all()))


async def test_what_waits_in_a_shared_commit_is_sent_together(
    database: PostgresDatabase, sent: list[str]
) -> None:
    def work(number: int) -> Callable[[Connection], None]:
        def write(connection: Connection) -> None:
            leave(f"line {number}")(connection)
            with Savepoint(connection):
                assert note(number, f"{number}")(connection)

        return write

    await asyncio.gather(*(database.write(work(number)) for number in range(20)))

    assert sent == ["INSERT", "INSERT"]
    assert await notes(database) == [f"{number}" for number in range(20)]
    assert await lines(database) == [f"line {number}" for number in range(20)]


async def test_a_read_finds_what_was_written_before_it(database: PostgresDatabase) -> None:
    def work(connection: Connection) -> list[list[str]]:
        note(1, "one")(connection)
        prepared = READ.rows(connection, {})
        note(2, "two")(connection)
        through_core = connection.execute(select(NOTES.c.text).order_by(NOTES.c.id)).all()
        CHANGE.hits(connection, {"which": 1, "more": "!"})
        return [[text for (text,) in rows] for rows in (prepared, through_core, READ.rows(connection, {}))]

    assert await database.write(work) == [["one"], ["one", "two"], ["one!", "two"]]


async def test_changes_of_one_table_keep_their_order(database: PostgresDatabase) -> None:
    def work(connection: Connection) -> None:
        note(1, "one")(connection)
        CHANGE.hits(connection, {"which": 1, "more": "!"})
        REPLACE.hits(connection, {"which": 1, "by": "two"})
        CHANGE.hits(connection, {"which": 1, "more": "?"})
        leave("a")(connection)
        CHANGE.hits(connection, {"which": 1, "more": "!"})

    await database.write(work)
    assert await notes(database) == ["two?!"]


async def test_whoever_trusted_in_vain_is_told_the_truth_and_spoils_nothing(
    database: PostgresDatabase,
) -> None:
    await database.write(note(1, "one"))
    answers: tuple[bool, ...] = await asyncio.gather(
        database.write(note(1, "another")),
        database.write(note(2, "two")),
        database.write(lambda connection: CHANGE.hits(connection, {"which": 3, "more": "!"})),
    )

    assert tuple(answers) == (False, True, False)
    assert await notes(database) == ["one", "two"]


async def test_after_a_surprise_transactions_are_careful_for_a_while(database: PostgresDatabase) -> None:
    runs: list[int] = []

    def miss(connection: Connection) -> bool:
        runs.append(1)
        return CHANGE.hits(connection, {"which": 9, "more": "!"})

    for _ in range(CAREFUL + 1):
        assert not await database.write(miss)
    # The first of them trusted in vain, and so does the last one.
    assert len(runs) == CAREFUL + 3


async def test_what_raises_within_a_savepoint_takes_back_what_it_left(database: PostgresDatabase) -> None:
    def work(connection: Connection) -> None:
        leave("before")(connection)
        with pytest.raises(Refused):
            refuse(connection)
        leave("after")(connection)

    def refuse(connection: Connection) -> None:
        with Savepoint(connection):
            leave("within")(connection)
            note(1, "one")(connection)
            raise Refused("no", "Not this part.")

    await asyncio.gather(database.write(work), database.write(leave("other")))
    assert await lines(database) == ["before", "after", "other"]
    assert await notes(database) == []


async def test_a_row_that_can_t_be_left_fails_its_own_work_alone(database: PostgresDatabase) -> None:
    twice = Prepared(LINES.insert().inline(), ("id", "text"))

    def work(connection: Connection) -> None:
        twice.later(connection, [{"id": 1, "text": "a"}, {"id": 1, "text": "b"}])

    failed, _ = await asyncio.gather(
        database.write(work), database.write(note(1, "one")), return_exceptions=True
    )

    assert isinstance(failed, IntegrityError)
    assert await lines(database) == []
    assert await notes(database) == ["one"]


async def test_a_value_that_does_not_fit_fails_its_own_work_alone(database: PostgresDatabase) -> None:
    failed, _ = await asyncio.gather(
        database.write(note(2**40, "too large")), database.write(note(1, "one")), return_exceptions=True
    )

    assert isinstance(failed, DataError)
    assert await notes(database) == ["one"]


async def test_a_statement_outlives_a_change_of_the_schema(database: PostgresDatabase) -> None:
    await database.write(note(1, "one"))
    assert await database.write(lambda connection: READ.rows(connection, {})) == [("one",)]
    await database.write(
        lambda connection: connection.exec_driver_sql("ALTER TABLE notes ALTER text TYPE char(5)")
    )
    assert await database.write(lambda connection: READ.rows(connection, {})) == [("one  ",)]


async def test_two_that_change_the_same_rows_the_other_way_round_don_t_deadlock(
    database: PostgresDatabase, schema: Schema
) -> None:
    other = PostgresDatabase(schema, limits=Limits(writers=1))
    await other.start()
    await asyncio.gather(*(database.write(note(number, f"{number}")) for number in range(40)))
    runs: list[int] = []

    def change(order: range) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            runs.append(1)
            for number in order:
                assert CHANGE.hits(connection, {"which": number, "more": "!"})

        return work

    for _ in range(10):
        await asyncio.gather(database.write(change(range(40))), other.write(change(range(39, -1, -1))))
    await other.close()

    assert len(runs) == 20, "they were in each other's way"
    assert await notes(database) == [f"{number}{'!' * 20}" for number in range(40)]


async def test_rows_by_many_keys_are_one_statement(database: PostgresDatabase, sent: list[str]) -> None:
    await asyncio.gather(*(database.write(note(number, f"{number}")) for number in range(5)))
    sent.clear()
    found = await database.read(lambda connection: BY_ID.rows(connection, [4, 2, 9]))

    assert found == [(2, "2"), (4, "4")]
    assert sent == ["SELECT"]
