"""What every store promises to whoever writes and reads."""

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from shared.database.port import Database, Savepoint, announce, insert_new
from shared.errors import DatabaseUnavailable, Refused
from tests.integration.database.conftest import NOTES, read_notes, write_down


async def test_what_is_written_can_be_read(database: Database) -> None:
    assert await database.write(write_down("one")) == 1
    assert await database.read(read_notes) == ["one"]


async def test_work_that_raises_is_undone_and_its_error_is_raised(database: Database) -> None:
    def work(connection: Connection) -> None:
        write_down("one")(connection)
        raise Refused("no", "Not like this.")

    with pytest.raises(Refused, match="Not like this"):
        await database.write(work)
    assert await database.read(read_notes) == []


async def test_what_raised_leaves_the_next_write_as_it_found_it(database: Database) -> None:
    def work(connection: Connection) -> None:
        write_down("lost")(connection)
        raise Refused("no", "Not like this.")

    for _ in range(2):
        with pytest.raises(Refused):
            await database.write(work)
        await database.write(lambda _connection: None)
    await database.write(write_down("kept"))
    assert await database.read(read_notes) == ["kept"]


async def test_a_violated_constraint_is_the_statement_s_own_error(database: Database) -> None:
    await database.write(write_down("one"))

    with pytest.raises(IntegrityError):
        await database.write(write_down("one"))
    await database.write(write_down("two"))
    assert await database.read(read_notes) == ["one", "two"]


async def test_a_missing_table_is_the_statement_s_own_error(database: Database) -> None:
    with pytest.raises(DBAPIError, match="nowhere"):
        await database.write(lambda connection: connection.execute(text("DELETE FROM nowhere")))
    await database.write(write_down("one"))


async def test_listeners_hear_of_commits_that_were_announced(database: Database) -> None:
    heard: list[int] = []
    database.on_commit(lambda: heard.append(1))
    await database.write(write_down("one"))
    await database.write(announce)
    await database.write(write_down("two"))
    await database.read(read_notes)

    assert heard == [1]


async def test_a_savepoint_undoes_its_part_alone(database: Database) -> None:
    def work(connection: Connection) -> None:
        write_down("before")(connection)
        with pytest.raises(Refused):
            _refuse_within_a_savepoint(connection, "within")
        with Savepoint(connection):
            write_down("after")(connection)

    await database.write(work)
    assert await database.read(read_notes) == ["before", "after"]


async def test_savepoints_nest(database: Database) -> None:
    def work(connection: Connection) -> None:
        with Savepoint(connection):
            write_down("outer")(connection)
            with pytest.raises(Refused):
                _refuse_within_a_savepoint(connection, "inner")

    await database.write(work)
    assert await database.read(read_notes) == ["outer"]


async def test_insert_new_inserts_once(database: Database) -> None:
    row = {"id": 7, "text": "seven"}

    assert await database.write(lambda connection: insert_new(connection, NOTES, row))
    assert not await database.write(lambda connection: insert_new(connection, NOTES, row))
    assert await database.read(read_notes) == ["seven"]


async def test_a_closed_database_takes_nothing(database: Database) -> None:
    await database.close()

    with pytest.raises(DatabaseUnavailable):
        await database.write(write_down("late"))
    with pytest.raises(DatabaseUnavailable):
        await database.read(read_notes)
    await database.close()


def _refuse_within_a_savepoint(connection: Connection, note: str) -> None:
    with Savepoint(connection):
        write_down(note)(connection)
        raise Refused("no", "Not this part.")
