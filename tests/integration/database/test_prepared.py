"""Prepared statements do what executing them through SQLAlchemy does."""

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, OperationalError

from shared.database.inline import InlineDatabase
from shared.database.port import insert_new
from shared.database.prepared import Prepared

THINGS = Table(
    "things",
    MetaData(),
    Column("name", String, primary_key=True),
    Column("count", Integer, nullable=False, default=5),
    Column("good", Boolean, nullable=False, default=True),
    Column("note", String),
)
PUT = Prepared(THINGS.insert().inline(), ("name", "count", "good"))
MORE = Prepared(
    update(THINGS).where(THINGS.c.name == bindparam("which")).values(count=THINGS.c.count + 3, note=None)
)
ONE = Prepared(select(THINGS).where(THINGS.c.name == bindparam("which")))
ALL = Prepared(select(THINGS.c.name).order_by(THINGS.c.name).limit(bindparam("most")))
BROKEN = Prepared(select(Table("nowhere", MetaData(), Column("x", Integer))))


@pytest.fixture
async def database() -> InlineDatabase:
    database = InlineDatabase()
    await database.start()
    await database.write(THINGS.metadata.create_all)
    return database


async def test_values_and_rows_go_through(database: InlineDatabase) -> None:
    def work(connection: Connection) -> None:
        assert PUT.run(connection, {"name": "a", "count": 1, "good": False}) == 1
        PUT.run_many(connection, [{"name": name, "count": 2, "good": True} for name in "cb"])
        assert MORE.run(connection, {"which": "a"}) == 1
        assert MORE.run(connection, {"which": "z"}) == 0
        assert ONE.row(connection, {"which": "a"}) == ("a", 4, False, None)
        assert ONE.row(connection, {"which": "z"}) is None
        assert ALL.rows(connection, {"most": 2}) == [("a",), ("b",)]

    await database.write(work)
    await database.close()


async def test_column_defaults_are_filled_in(database: InlineDatabase) -> None:
    def work(connection: Connection) -> None:
        assert insert_new(connection, THINGS, {"name": "a"})
        assert ONE.row(connection, {"which": "a"}) == ("a", 5, True, None)

    await database.write(work)
    await database.close()


async def test_errors_are_sqlalchemy_s(database: InlineDatabase) -> None:
    def twice(connection: Connection) -> None:
        PUT.run_many(connection, [{"name": "a", "count": 1, "good": True}] * 2)

    with pytest.raises(IntegrityError):
        await database.write(twice)
    with pytest.raises(OperationalError):
        await database.write(lambda connection: BROKEN.rows(connection, {}))
    await database.close()


@pytest.mark.parametrize("prepared", [True, False])
async def test_a_read_that_locks_rows_fails_as_on_a_server(database: InlineDatabase, prepared: bool) -> None:
    statement = select(THINGS).with_for_update()
    lock = Prepared(statement)

    def work(connection: Connection) -> object:
        return lock.rows(connection, {}) if prepared else connection.execute(statement).all()

    assert await database.write(work) == []
    with pytest.raises(AssertionError, match="a read locks rows"):
        await database.read(work)
    assert await database.write(work) == []
    await database.close()


async def test_a_missing_parameter_is_a_mistake(database: InlineDatabase) -> None:
    with pytest.raises(KeyError):
        await database.read(lambda connection: ONE.row(connection, {}))
    await database.close()
