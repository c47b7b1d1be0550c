"""The PostgreSQL store: shared commits, others in the way, a server that goes away, what stopping does."""

import asyncio
import random
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

from shared.database.place import Schema
from shared.database.postgres import PostgresDatabase
from shared.database.postgres_session import Limits
from shared.errors import DatabaseUnavailable, Refused, Transient
from shared.settings import Settings
from tests.integration.database.conftest import METADATA, read_notes, write_down
from tests.postgres import Server


def transaction(connection: Connection) -> int:
    """Return the number of the transaction at hand."""
    number: int = connection.exec_driver_sql("SELECT txid_current()").scalar_one()
    return number


def change(note: int) -> Callable[[Connection], None]:
    return lambda connection: connection.exec_driver_sql(  # type: ignore[return-value]
        f"UPDATE notes SET text = text || '!' WHERE id = {note}"  # noqa: S608
    )


async def test_what_waits_shares_one_commit(in_postgres: PostgresDatabase) -> None:
    numbers = await asyncio.gather(*(in_postgres.write(transaction) for _ in range(40)))

    assert len(set(numbers)) <= 4
    assert len(numbers) == 40


async def test_one_failure_in_a_shared_commit_is_undone_alone(in_postgres: PostgresDatabase) -> None:
    def refuse(connection: Connection) -> None:
        write_down("refused")(connection)
        raise Refused("no", "No.")

    def stop(connection: Connection) -> None:
        write_down("stopped")(connection)
        raise StopIteration

    works = [write_down("one"), refuse, stop, write_down("two")]
    results = await asyncio.gather(*(in_postgres.write(work) for work in works), return_exceptions=True)

    assert [type(result) for result in results] == [int, Refused, RuntimeError, int]
    assert sorted(await in_postgres.read(read_notes)) == ["one", "two"]


async def test_two_that_wait_for_each_other_both_succeed(in_postgres: PostgresDatabase) -> None:
    for note in ("one", "two"):
        await in_postgres.write(write_down(note))
    begun, met = asyncio.Event(), asyncio.Barrier(2)
    attempts: list[int] = []

    def crossing(first: int, second: int) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            attempts.append(first)
            change(first)(connection)
            begun.set()
            if attempts.count(first) == 1:
                await_only(met.wait())
            change(second)(connection)

        return work

    there = asyncio.create_task(in_postgres.write(crossing(1, 2)))
    await begun.wait()  # So that each has a transaction of its own.
    await in_postgres.write(crossing(2, 1))
    await there

    assert len(attempts) > 2, "they were not in each other's way"
    assert await in_postgres.read(read_notes) == ["one!!", "two!!"]


async def test_a_lock_that_is_not_had_in_time_is_for_later(schema: Schema) -> None:
    holder = PostgresDatabase(schema)
    waiter = PostgresDatabase(schema, limits=Limits(lock_seconds=0.02), randomness=random.Random(1))
    await holder.start()
    await waiter.start()
    await holder.write(METADATA.create_all)
    await holder.write(write_down("one"))
    held, release = asyncio.Event(), asyncio.Event()

    def hold(connection: Connection) -> None:
        change(1)(connection)
        held.set()
        await_only(release.wait())

    holding = asyncio.create_task(holder.write(hold))
    await held.wait()
    with pytest.raises(Transient, match="in the way") as refused:
        await waiter.write(change(1))
    assert refused.value.slug == "contended"
    release.set()
    await holding
    await waiter.write(change(1))

    assert await holder.read(read_notes) == ["one!!"]
    await holder.close()
    await waiter.close()


async def test_a_server_that_goes_away_is_unavailable_and_recovers(
    in_postgres: PostgresDatabase, postgres: Server
) -> None:
    await in_postgres.write(write_down("before"))
    postgres.stop(signal.SIGQUIT)
    with pytest.raises(DatabaseUnavailable):
        await in_postgres.write(write_down("never"))
    with pytest.raises(DatabaseUnavailable):
        await in_postgres.read(read_notes)
    postgres.start()
    await in_postgres.write(write_down("after"))

    assert await in_postgres.read(read_notes) == ["before", "after"]


async def test_connections_that_were_ended_are_replaced_unnoticed(
    in_postgres: PostgresDatabase, schema: Schema, postgres: Server
) -> None:
    await asyncio.gather(*(in_postgres.write(write_down(str(number))) for number in range(10)))
    await postgres.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "  # noqa: S608 - our own name
        f"WHERE application_name = '{schema.name}'"
    )
    await in_postgres.write(write_down("another"))

    assert len(await in_postgres.read(read_notes)) == 11


async def test_a_commit_without_an_answer_is_not_repeated(in_postgres: PostgresDatabase) -> None:
    """The connection ends in the middle of the commit: whether it is done is not known."""
    await in_postgres.write(
        lambda connection: [
            connection.exec_driver_sql(statement)
            for statement in (
                "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'",
                "CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW WHEN (NEW.text = 'fatal') EXECUTE FUNCTION die()",
            )
        ]
    )
    runs: list[int] = []

    def work(connection: Connection) -> None:
        runs.append(1)
        write_down("fatal")(connection)

    with pytest.raises(DatabaseUnavailable, match="may or may not"):
        await in_postgres.write(work)
    assert runs == [1]
    await in_postgres.write(write_down("harmless"))
    assert await in_postgres.read(read_notes) == ["harmless"]


async def test_a_statement_that_takes_too_long_is_ended(schema: Schema) -> None:
    database = PostgresDatabase(schema, limits=replace(Limits(), statement_seconds=0.1))
    await database.start()
    with pytest.raises(DatabaseUnavailable, match="statement timeout"):
        await database.write(lambda connection: connection.exec_driver_sql("SELECT pg_sleep(30)"))
    with pytest.raises(DatabaseUnavailable, match="statement timeout"):
        await database.read(lambda connection: connection.exec_driver_sql("SELECT pg_sleep(30)"))
    await database.close()


async def test_a_value_that_does_not_fit_is_the_statement_s_own_error(in_postgres: PostgresDatabase) -> None:
    with pytest.raises(DBAPIError):
        await in_postgres.write(
            lambda connection: connection.execute(text("SELECT CAST(:n AS integer)"), {"n": 2**40})
        )
    await in_postgres.write(write_down("one"))


async def test_a_cancelled_waiter_s_write_stands_and_disturbs_nobody(in_postgres: PostgresDatabase) -> None:
    impatient = asyncio.create_task(in_postgres.write(write_down("nobody waits")))
    patient = asyncio.create_task(in_postgres.write(write_down("somebody waits")))
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    with pytest.raises(asyncio.CancelledError):
        await impatient
    await in_postgres.write(write_down("last"))

    assert len(await in_postgres.read(read_notes)) == 3


async def test_a_cancelled_read_leaves_no_trace(in_postgres: PostgresDatabase) -> None:
    for _ in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await in_postgres.read(lambda connection: connection.exec_driver_sql("SELECT pg_sleep(5)"))
    assert await in_postgres.read(read_notes) == []


async def test_a_read_sees_one_snapshot(in_postgres: PostgresDatabase) -> None:
    looked, written = asyncio.Event(), asyncio.Event()

    def look_twice(connection: Connection) -> list[list[str]]:
        before = read_notes(connection)
        looked.set()
        await_only(written.wait())
        return [before, read_notes(connection)]

    reading = asyncio.create_task(in_postgres.read(look_twice))
    await looked.wait()
    await in_postgres.write(write_down("meanwhile"))
    written.set()

    assert await reading == [[], []]


async def test_a_read_can_t_write(in_postgres: PostgresDatabase) -> None:
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        await in_postgres.read(write_down("never"))
    assert await in_postgres.read(read_notes) == []


async def test_closing_finishes_what_is_queued(schema: Schema) -> None:
    database = PostgresDatabase(schema)
    await database.start()
    await database.write(METADATA.create_all)
    writes = [asyncio.create_task(database.write(write_down(str(number)))) for number in range(100)]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*writes)

    again = PostgresDatabase(schema)
    await again.start()
    assert len(await again.read(read_notes)) == 100
    await again.close()


async def test_a_server_that_is_not_there_is_unavailable_from_the_start() -> None:
    database = PostgresDatabase(Schema("postgresql://handfast:hidden@127.0.0.1:1/nowhere", "x"))
    with pytest.raises(DatabaseUnavailable) as failure:
        await database.start()
    assert "127.0.0.1:1/nowhere" in str(failure.value)
    assert "hidden" not in repr(failure.value)


def test_the_password_is_shown_nowhere() -> None:
    settings = Settings(_env_file=None, database_url="postgresql://u:hidden@h/d")
    schema = Schema("postgresql+asyncpg://u:hidden@h:5433/d", "handfast_stock")
    for shown in (repr(settings), str(settings), repr(schema), settings.model_dump_json()):
        assert "hidden" not in shown
    assert str(schema) == "postgresql://h:5433/d, schema handfast_stock"
    assert schema.dsn == "postgresql://u:hidden@h:5433/d"
