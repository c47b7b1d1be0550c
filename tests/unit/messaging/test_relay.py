"""What the relay promises: everything once acknowledged, nothing held up, nothing twice at a time."""

import asyncio
from collections.abc import Sequence

from sqlalchemy import Connection

from shared.database.inline import InlineDatabase
from shared.database.port import take_announced
from shared.errors import Unreachable
from shared.messaging.broker import Message, Unpublishable
from shared.messaging.outbox import Outbox
from shared.messaging.relay import Relay
from tests.unit.messaging.world import TOPIC, World, world


async def add(w: World, *values: bytes, topic: str = TOPIC) -> None:
    messages = [Message(topic, value, value) for value in values]
    await w.database.write(lambda connection: w.outbox.add(connection, messages))


async def waiting(w: World) -> int:
    rows = await InlineDatabase.read(w.database, lambda c: c.exec_driver_sql("SELECT id FROM outbox").all())
    return len(rows)


async def test_a_message_leaves_at_once_after_its_commit() -> None:
    async with world() as w:
        w.relay()
        await asyncio.sleep(10)
        started = w.loop.time()
        await add(w, b"a")
        await w.until(lambda: w.broker.records(TOPIC))
        assert w.loop.time() - started <= 0.011
        await asyncio.sleep(0.01)
        assert await waiting(w) == 0


async def test_messages_keep_their_order_and_are_published_once() -> None:
    async with world(partitions=1) as w:
        w.relay()
        expected = [b"%d" % number for number in range(2_000)]
        for start in range(0, 2_000, 50):
            await add(w, *expected[start : start + 50])
        await w.until(lambda: len(w.broker.records(TOPIC)) == 2_000)
        await asyncio.sleep(5)
        assert [record.value for record in w.broker.records(TOPIC)] == expected
        assert await waiting(w) == 0


async def test_what_was_left_by_a_crash_is_published_at_the_start() -> None:
    async with world() as w:
        await add(w, b"left")
        w.relay()
        await w.until(lambda: w.broker.records(TOPIC))


async def test_a_row_without_a_sign_is_found_by_the_poll() -> None:
    async with world() as w:
        w.relay()
        await asyncio.sleep(10)
        silent = Outbox(w.clock)

        def write(connection: Connection) -> None:
            silent.add(connection, [Message(TOPIC, b"k", b"v")])
            take_announced(connection)

        await w.database.write(write)
        await w.until(lambda: w.broker.records(TOPIC), 1.1)


async def test_while_the_broker_is_away_everything_waits_and_health_says_so() -> None:
    async with world() as w:
        relay = w.relay()
        w.broker.available = False
        await add(w, b"a", b"b")
        await w.until(relay.health)
        await asyncio.sleep(60)
        assert await waiting(w) == 2
        w.broker.available = True
        await w.until(lambda: len(w.broker.records(TOPIC)) == 2, 2.5)
        await w.until(lambda: relay.health() is None)


async def test_a_topic_that_is_missing_holds_up_no_other() -> None:
    async with world() as w:
        w.relay()
        await add(w, *(b"%d" % number for number in range(700)), topic="missing")
        await add(w, b"good")
        await w.until(lambda: w.broker.records(TOPIC), 2)
        await w.broker.ensure_topics({"missing": 1})
        await w.until(lambda: len(w.broker.records("missing")) == 700)


async def test_a_message_that_can_never_be_published_is_dropped_and_counted() -> None:
    async with world() as w:
        w.broker.refuse = lambda message: Unpublishable("too large") if message.value == b"giant" else None
        relay = Relay(w.database, w.outbox, w.broker.publisher(), registry=w.registry)
        w.start(relay.run())
        await add(w, b"a", b"giant", b"b")
        await w.until(lambda: len(w.broker.records(TOPIC)) == 2)
        await asyncio.sleep(0.1)
        assert await waiting(w) == 0
        assert w.registry.get_sample_value("handfast_outbox_dropped_total") == 1
        assert w.registry.get_sample_value("handfast_outbox_published_total") == 2
        assert relay.health() is None


async def test_whoever_waits_for_a_dropped_message_is_told_in_the_transaction_that_removes_it() -> None:
    async with world() as w:
        w.broker.refuse = lambda message: Unpublishable("too large") if message.value == b"giant" else None
        seen: list[tuple[bytes | None, int]] = []

        def told(connection: Connection, message: Message) -> None:
            left = connection.exec_driver_sql("SELECT count(*) FROM outbox").scalar_one()
            seen.append((message.value, left))

        w.start(Relay(w.database, w.outbox, w.broker.publisher(), given_up={TOPIC: told}).run())
        await add(w, b"a", b"giant")
        await w.until(lambda: seen)
        await asyncio.sleep(5)
        assert seen == [(b"giant", 0)]


async def test_a_consequence_that_fails_holds_up_no_other_message() -> None:
    async with world() as w:
        w.broker.refuse = lambda message: Unpublishable("too large") if message.value == b"giant" else None

        def told(connection: Connection, _: Message) -> None:
            connection.exec_driver_sql("DELETE FROM letter")
            raise AssertionError("a mistake of ours")

        w.start(Relay(w.database, w.outbox, w.broker.publisher(), given_up={TOPIC: told}).run())
        await add(w, b"giant")
        await asyncio.sleep(1)
        await add(w, b"b")
        await w.until(lambda: w.broker.records(TOPIC))
        await asyncio.sleep(0.1)
        assert await waiting(w) == 0


async def test_what_was_not_acknowledged_is_published_again() -> None:
    async with world() as w:
        lost = {b"b"}

        def refuse(message: Message) -> Exception | None:
            if message.value in lost:
                lost.discard(message.value)
                return Unreachable("no answer in time")
            return None

        w.broker.refuse = refuse
        w.relay()
        await add(w, b"a", b"b", b"c")
        await w.until(lambda: len(w.broker.records(TOPIC)) == 3)
        assert sorted(record.value or b"" for record in w.broker.records(TOPIC)) == [b"a", b"b", b"c"]


async def test_the_database_away_is_waited_for() -> None:
    async with world() as w:
        relay = w.relay()
        await asyncio.sleep(1)
        w.database.available = False
        await w.until(relay.health)
        w.database.available = True
        await add(w, b"a")
        await w.until(lambda: w.broker.records(TOPIC))
        await w.until(lambda: relay.health() is None)


async def test_no_row_is_on_its_way_twice() -> None:
    async with world(partitions=1) as w:
        under_way: set[bytes] = set()

        class SlowPublisher:
            async def start(self) -> None: ...

            async def stop(self) -> None: ...

            async def publish(self, messages: Sequence[Message]) -> list[Exception | None]:
                values = {message.value or b"" for message in messages}
                assert not values & under_way
                under_way.update(values)
                await asyncio.sleep(0.05)
                for message in messages:
                    w.broker.append(message)
                under_way.difference_update(values)
                return [None] * len(messages)

        w.start(Relay(w.database, w.outbox, SlowPublisher()).run())
        for number in range(100):
            await add(w, b"%d" % number)
            await asyncio.sleep(0.007)
        await w.until(lambda: len(w.broker.records(TOPIC)) >= 100)
        await asyncio.sleep(3)
        assert len(w.broker.records(TOPIC)) == 100


async def test_what_others_leave_behind_is_published_before_it_stops() -> None:
    async with world() as w:
        w.relay()
        await add(w, b"a")
        await w.until(lambda: w.broker.records(TOPIC))
        # In the same turn, so that the relay hears of the row and of its end at once.
        await add(w, b"last")
        w.tasks[0].cancel()
        await asyncio.gather(w.tasks[0], return_exceptions=True)
        assert [record.value for record in w.broker.records(TOPIC)] == [b"a", b"last"]
        assert await waiting(w) == 0


async def test_a_broker_that_is_away_does_not_hold_up_the_end() -> None:
    async with world() as w:
        w.relay()
        w.broker.available = False
        await add(w, b"a")
        await asyncio.sleep(1)
        began = w.loop.time()
        w.tasks[0].cancel()
        await asyncio.gather(w.tasks[0], return_exceptions=True)
        assert w.loop.time() - began <= 1
        assert await waiting(w) == 1
