"""What an outbox that is captured keeps, and what it leaves to the relay."""

import pytest
from sqlalchemy import select
from sqlmodel import SQLModel

from shared.clock import SystemClock
from shared.database.inline import InlineDatabase
from shared.database.port import table_of
from shared.messaging.broker import Headers, Message
from shared.messaging.cloudevents import event_headers
from shared.messaging.outbox import Outbox, OutboxRow, oldest

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def event(traceparent: str | None = TRACE) -> Headers:
    return event_headers(event_id="b1", source="stock", event_type="t", at=0, traceparent=traceparent)


def without(name: str) -> Headers:
    return tuple(header for header in event() if header[0] != name)


async def kept(*messages: Message) -> list[Message]:
    """Return what is left for the relay after the messages were added, and see that no other row is."""
    database, outbox = InlineDatabase(), Outbox(SystemClock(), captured=True)
    await database.start()
    announced: list[None] = []
    database.on_commit(lambda: announced.append(None))
    try:
        await database.write(lambda c: SQLModel.metadata.create_all(c, tables=[table_of(OutboxRow)]))
        await database.write(lambda c: outbox.add(c, messages))
        rows = await database.read(lambda c: c.execute(select(table_of(OutboxRow))).all())
        found = [message for _, message in await database.read(lambda c: oldest(c, 10))]
        assert len(found) == len(rows)
        assert bool(announced) == bool(rows), "the relay is woken for what is its own"
        return found
    finally:
        await database.close()


@pytest.mark.parametrize("traceparent", [TRACE, None])
async def test_an_event_leaves_no_row(traceparent: str | None) -> None:
    assert await kept(Message("topic", b"k", b"v", event(traceparent))) == []


@pytest.mark.parametrize(
    "headers",
    [
        (),
        without("ce_id"),
        (*event(), ("kafka_dlt-original-offset", b"\x00\x01")),
        (*event(), ("ce_id", b"again")),
        (*without("ce_type"), ("ce_type", b"\xff")),
        (*without("ce_type"), ("ce_type", b"a\x00b")),
    ],
    ids=["none", "one missing", "foreign", "twice", "no text", "a byte that text can't have"],
)
async def test_what_no_column_can_hold_is_left_to_the_relay_as_it_is(headers: Headers) -> None:
    message = Message("topic", b"k", b"v", headers)
    assert await kept(Message("topic", None, b"event", event()), message) == [message]


async def test_what_has_its_partition_is_left_to_the_relay() -> None:
    message = Message("topic", b"k", b"v", event(), partition=0)
    assert await kept(message) == [message]
