"""Groups, offsets and throughput over a real broker."""

import asyncio
from collections.abc import Sequence

from shared.database.port import Database
from shared.messaging.broker import Message, Record, Unpublishable
from shared.messaging.consumer import Verdict
from tests.integration.messaging.world import PARTITIONS, PATIENCE, world


async def test_two_members_share_the_work_and_one_takes_over_when_the_other_dies(
    kafka_bootstrap: str, store: Database
) -> None:
    async with world(kafka_bootstrap, store) as w:
        w.consume()
        w.consume()
        await w.until(lambda: sum(len(one.assigned()) for one in w.subscriptions) == PARTITIONS)
        await w.until(lambda: all(one.assigned() for one in w.subscriptions))
        await w.publish(*(w.message(b"a%d" % n, partition=n % PARTITIONS) for n in range(60)))
        await w.until(lambda: len(set(w.applied)) == 60)
        first = w.tasks[0]
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await w.publish(*(w.message(b"b%d" % n, partition=n % PARTITIONS) for n in range(60)))
        await w.until(lambda: len(set(w.applied)) == 120)
        assert len(w.applied) < 130, "hardly anything was delivered twice"


async def test_the_offset_is_committed_only_after_the_effect(kafka_bootstrap: str, store: Database) -> None:
    async with world(kafka_bootstrap, store) as w:
        handled = asyncio.Event()

        async def hang(_records: Sequence[Record]) -> list[Verdict]:
            handled.set()
            await asyncio.Event().wait()
            raise AssertionError

        await w.publish(w.message(b"once"))
        w.consume(handle=hang)
        await asyncio.wait_for(handled.wait(), PATIENCE)
        assert (await w.committed())[0] is None
        w.tasks[0].cancel()
        await asyncio.gather(w.tasks[0], return_exceptions=True)
        assert (await w.committed())[0] is None
        w.consume()
        await w.until(lambda: w.applied == [b"once"])

        async def committed() -> bool:
            return (await w.committed())[0] == 1

        await w.until(committed)


async def test_one_call_publishes_many_batches_and_finds_the_culprit(
    kafka_bootstrap: str, store: Database
) -> None:
    async with world(kafka_bootstrap, store) as w:
        publisher = w.broker.publisher()
        await publisher.start()
        large = [w.message(b"x" * 300_000, partition=n % 2) for n in range(6)]
        giant = w.message(b"x" * 2_000_000)
        nowhere = Message("no-such-topic", b"k", b"v")
        results = await publisher.publish([*large, giant, nowhere, w.message(b"small")])
        await publisher.stop()
        assert results[:6] == [None] * 6
        assert isinstance(results[6], Unpublishable)
        assert "no topic" in str(results[7])
        assert results[8] is None
        assert len(await w.read_topic(w.topic, 7)) == 7


async def test_the_key_chooses_the_partition_as_for_every_kafka_client(
    kafka_bootstrap: str, store: Database
) -> None:
    """Known murmur2 values of the Java client, modulo three."""
    async with world(kafka_bootstrap, store) as w:
        await w.publish(*(w.message(b"v", key=key, partition=None) for key in (b"21", b"foobar", b"abc")))
        found = {record.key: record.partition for record in await w.read_topic(w.topic, 3)}
        positive = {b"21": -973932308, b"foobar": -790332482, b"abc": 479470107}
        assert found == {key: (value & 0x7FFFFFFF) % 3 for key, value in positive.items()}


async def test_the_order_within_a_key_is_kept(kafka_bootstrap: str, store: Database) -> None:
    async with world(kafka_bootstrap, store) as w:
        w.relay()
        for start in range(0, 2_000, 100):
            messages = [w.message(b"%05d" % n, key=b"k", partition=None) for n in range(start, start + 100)]
            await w.add(*messages)
        records = await w.read_topic(w.topic, 2_000)
        assert [record.value for record in records] == [b"%05d" % n for n in range(2_000)]
