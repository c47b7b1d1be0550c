"""Several instances of a program on one PostgreSQL: who is there, who publishes what, and who hears of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.util import await_only

from shared.clock import SystemClock
from shared.database.place import Schema
from shared.database.postgres import PostgresDatabase
from shared.messaging import presence
from shared.messaging.broker import Message
from shared.messaging.memory import MemoryBroker
from shared.messaging.outbox import Outbox, oldest
from shared.messaging.presence import LEASE_MS, Lag, Presence
from shared.messaging.relay import Relay
from shared.messaging.topics import TopicKeeper
from shared.migrations import upgrade
from shared.store_clock import StoreClock
from tests.postgres import Server

TOPIC = "news"
NOW = 1_790_000_000_000


class AtATime(PostgresDatabase):
    """Whose time is set by hand."""

    at = NOW

    async def time(self) -> int:
        return self.at


class Still:
    """A machine's clock that stands still, so that only the database's time counts."""

    def now(self) -> int:
        return 0


@pytest.fixture
def schema(postgres: Server) -> Schema:
    schema = postgres.emptied("instances")
    upgrade(schema, "stock")
    return schema


@pytest.fixture
async def open_database(schema: Schema) -> AsyncIterator[Callable[[], Any]]:
    opened: list[AtATime] = []

    async def open_one() -> AtATime:
        opened.append(AtATime(schema))
        await opened[-1].start()
        return opened[-1]

    yield open_one
    for database in opened:
        await database.close()


def instance(database: AtATime, name: str, lag: Lag = (1, 0)) -> Presence:
    return Presence(database, StoreClock(Still()), name, lag=lambda: lag)


def write(outbox: Outbox, *values: str) -> Callable[[Connection], None]:
    return lambda connection: outbox.add(connection, [Message(TOPIC, b"k", one.encode()) for one in values])


async def owned(database: AtATime, name: str) -> list[bytes | None]:
    rows = await database.read(lambda connection: oldest(connection, 100, owner=name))
    return [message.value for _, message in rows]


async def test_each_publishes_its_own_and_nothing_is_published_twice(
    open_database: Callable[[], Any],
) -> None:
    broker = MemoryBroker(SystemClock())
    await TopicKeeper(broker, {TOPIC: 1}).ensure()
    relays, written = [], []
    for name in ("one", "two"):
        database, outbox = await open_database(), Outbox(SystemClock(), name)
        relay = Relay(database, outbox, broker.publisher(), poll_seconds=60.0)
        relays.append(asyncio.create_task(relay.run()))
        for number in range(50):
            written.append(f"{name} {number}")
            await database.write(write(outbox, written[-1]))
    async with asyncio.timeout(20):
        while len(broker.records(TOPIC)) < 100:  # noqa: ASYNC110 - the broker has no sign for it
            await asyncio.sleep(0.005)
    for relay_ in relays:
        relay_.cancel()
    await asyncio.gather(*relays, return_exceptions=True)
    assert sorted((record.value or b"").decode() for record in broker.records(TOPIC)) == sorted(written)


async def test_what_is_left_by_one_that_is_gone_is_taken_over_after_its_lease(
    open_database: Callable[[], Any],
) -> None:
    database = await open_database()
    gone, stays = instance(database, "gone"), instance(database, "stays")
    await gone.begin()
    await database.write(write(Outbox(SystemClock(), "gone"), "left behind"))
    database.at = NOW + LEASE_MS
    await stays.begin()
    assert await owned(database, "stays") == []
    assert not stays.alone
    database.at = NOW + LEASE_MS + 1
    await stays.begin()
    assert await owned(database, "stays") == [b"left behind"]
    assert stays.alone


async def test_what_two_take_over_at_once_goes_to_one_of_them(open_database: Callable[[], Any]) -> None:
    one, other = await open_database(), await open_database()
    await one.write(write(Outbox(SystemClock(), "gone"), *"abcdef"))
    taken, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def held_open(connection: Connection) -> int:
        count = presence.adopt(connection, "one", NOW, most=4)
        loop.call_soon(taken.set)
        await_only(go_on.wait())
        return count

    first = asyncio.create_task(one.write(held_open))
    await taken.wait()
    assert await other.write(partial(presence.adopt, name="other", since=NOW)) == 2
    go_on.set()
    assert await first == 4
    assert await owned(one, "one") == [b"a", b"b", b"c", b"d"]
    assert await owned(one, "other") == [b"e", b"f"]


async def test_one_that_says_good_bye_keeps_nobody_waiting(open_database: Callable[[], Any]) -> None:
    database = await open_database()
    leaves, stays = instance(database, "leaves"), instance(database, "stays")
    running = asyncio.create_task(leaves.run())
    async with asyncio.timeout(10):
        while leaves.alone and not leaves.first:  # noqa: ASYNC110 - it has no sign for it
            await asyncio.sleep(0.005)
    await database.write(write(Outbox(SystemClock(), "leaves"), "left behind"))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await stays.begin()
    assert await owned(database, "stays") == [b"left behind"]


async def test_one_is_the_first_and_one_that_stood_still_comes_back_as_the_last(
    open_database: Callable[[], Any],
) -> None:
    database = await open_database()
    machine = StoreClock(Still())
    elder = Presence(database, machine, "elder", lag=lambda: (0, 0))
    younger = instance(database, "younger")
    await elder.begin()
    database.at = NOW + 1
    await younger.begin()
    await elder.begin()
    assert (elder.first, younger.first) == (True, False)
    for later in (1_000, 2 + LEASE_MS):
        database.at = NOW + later
        await younger.begin()
    assert younger.first
    machine.compare(0, NOW + 2 + LEASE_MS, 0)
    assert not elder.first, "its clock tells it that it stood still"
    await elder.begin()
    assert (elder.first, younger.first) == (False, True)


async def test_a_machine_ten_minutes_off_goes_by_the_time_of_the_database(schema: Schema) -> None:
    class Wrong:
        def now(self) -> int:
            return SystemClock().now() + 600_000

    database = PostgresDatabase(schema)
    await database.start()
    clock = StoreClock(Wrong())
    try:
        await Presence(database, clock, "wrong", lag=lambda: (0, None)).begin()
        assert abs(clock.now() - await database.time()) < 1_000
    finally:
        await database.close()


async def test_the_lag_is_that_of_all(open_database: Callable[[], Any]) -> None:
    database = await open_database()
    instances = {
        name: instance(database, name, lag=lag)
        for name, lag in {"a": (2, 3), "b": (1, 4), "idle": (0, 0)}.items()
    }
    for one in (*instances.values(), *instances.values()):
        await one.begin()
    assert [one.lag() for one in instances.values()] == [7, 7, 7]
    await instance(database, "deaf", lag=(0, None)).begin()
    await instances["a"].begin()
    assert instances["a"].lag() is None


async def test_others_hear_a_hint_and_hear_again_after_their_connection_broke(
    postgres: Server, open_database: Callable[[], Any]
) -> None:
    one, other = await open_database(), await open_database()
    heard: asyncio.Queue[str] = asyncio.Queue()
    own: list[str] = []
    hearing = [asyncio.create_task(one.hear(own.append)), asyncio.create_task(other.hear(heard.put_nowait))]

    async def until_heard(key: str) -> None:
        async with asyncio.timeout(20):
            while True:
                one.hint(key)
                try:
                    async with asyncio.timeout(0.2):
                        if await heard.get() == key:
                            return
                except TimeoutError:
                    continue

    await until_heard("before")
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'instances'"
    await postgres.fetch(cut)
    await until_heard("after")
    assert own == []
    for each in hearing:
        each.cancel()
    await asyncio.gather(*hearing, return_exceptions=True)
