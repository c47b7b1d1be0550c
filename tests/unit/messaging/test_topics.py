"""Topics and their twins exist, at the start and whenever they went missing; events carry their headers."""

import asyncio

import pytest

from shared.messaging.cloudevents import event_headers
from shared.messaging.topics import TopicKeeper
from tests.unit.messaging.world import world


async def test_topics_and_their_twins_are_created_with_the_same_partition_count() -> None:
    async with world() as w:
        created = await TopicKeeper(w.broker, {"a": 4}).ensure()
        assert created == {"a", "dlt-a"}
        assert await TopicKeeper(w.broker, {"a": 4}).ensure() == frozenset()
        for topic in created:
            w.publish(b"x", topic=topic, partition=3)
            assert [record.partition for record in w.broker.records(topic)] == [3]


async def test_topics_that_a_broker_forgot_are_created_again() -> None:
    async with world() as w:
        keeper = TopicKeeper(w.broker, {"a": 1}, check_seconds=2.0)
        w.start(keeper.run())
        await asyncio.sleep(1)
        assert keeper.health() is None
        w.broker.available = False
        await w.until(keeper.health)
        w.broker.forget()
        w.broker.available = True
        await w.until(lambda: keeper.health() is None, 2.5)
        w.publish(b"x", topic="dlt-a")


def test_event_headers_are_cloud_events_in_binary_mode() -> None:
    headers = event_headers(
        event_id="1", source="stock", event_type="handfast.outcome", at=0, traceparent="00-a-b-01"
    )
    assert dict(headers) == {
        "ce_id": b"1",
        "ce_source": b"stock",
        "ce_type": b"handfast.outcome",
        "ce_time": b"1970-01-01T00:00:00.000Z",
        "ce_specversion": b"1.0",
        "traceparent": b"00-a-b-01",
    }
    assert "traceparent" not in dict(event_headers(event_id="1", source="s", event_type="t", at=0))


async def test_what_keeps_the_topics_from_being_made_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with world() as w:
        w.broker.available = False
        keeper = TopicKeeper(w.broker, {"a": 1}, check_seconds=0.1)
        w.start(keeper.run())
        await asyncio.sleep(1)
        said = [record for record in caplog.records if "can't be made sure of" in record.message]
        assert len(said) == 1
        assert (keeper.health() or "nothing") in said[0].message
