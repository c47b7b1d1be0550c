"""Dead letters over a real broker: four deliveries, the letter, the `dlt-` record with Spring's headers."""

import struct

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c

from shared.database.port import Database
from shared.errors import Refused, Transient
from shared.messaging.broker import Message
from shared.messaging.ledger import Asked
from shared.messaging.letters import LetterState
from shared.messaging.replays import replay
from tests.integration.messaging.world import World, world

ORIGINAL_HEADERS = (("ce_id", b"1"), ("twice", b"a"), ("twice", b"b"), ("traceparent", b"00-zz"))


async def test_four_deliveries_then_a_dead_letter_on_the_same_partition(
    kafka_bootstrap: str, store: Database
) -> None:
    async with world(kafka_bootstrap, store) as w:
        w.verdict = lambda record: Transient("frozen") if record.value == b"bad" else None
        await w.publish(w.message(b"good", partition=2))
        await w.publish(w.message(b"bad", partition=2, headers=ORIGINAL_HEADERS))
        w.relay()
        w.consume()
        (record,) = await w.read_topic(f"dlt-{w.topic}", 1)
        (letter,) = await w.letters()
        assert [one.value for one in w.attempts].count(b"bad") == 4
        assert record.partition == 2
        assert (record.key, record.value) == (b"key", b"bad")
        assert record.headers[:4] == ORIGINAL_HEADERS
        added = dict(record.headers[4:])
        (original,) = [one for one in w.attempts if one.value == b"bad"][:1]
        assert added["kafka_dlt-original-topic"] == w.topic.encode()
        assert struct.unpack(">i", added["kafka_dlt-original-partition"]) == (2,)
        assert struct.unpack(">q", added["kafka_dlt-original-offset"]) == (1,)
        assert struct.unpack(">q", added["kafka_dlt-original-timestamp"]) == (original.timestamp,)
        assert added["kafka_dlt-original-timestamp-type"] == b"CreateTime"
        assert added["kafka_dlt-original-consumer-group"] == w.group.encode()
        assert added["kafka_dlt-exception-fqcn"] == b"shared.errors.Transient"
        assert added["kafka_dlt-exception-cause-fqcn"] == b"shared.errors.Transient"
        assert added["kafka_dlt-exception-message"] == b"frozen"
        assert b"shared.errors.Transient: frozen" in added["kafka_dlt-exception-stacktrace"]
        assert added["handfast-letter-id"] == letter.id.encode()
        assert added["handfast-attempts"] == b"4"
        assert added["handfast-replays"] == b"0"
        await w.until(lambda: _committed(w, {0: None, 1: None, 2: 2}))


async def test_garbage_of_every_kind_gets_its_letter_and_holds_nobody_up(
    kafka_bootstrap: str, store: Database
) -> None:
    garbage: list[tuple[bytes | None, bytes | None]] = [
        (b"k", b"\xff\xfe\x00\x80"),
        (b"k", None),
        (None, b"\x80"),
        (None, None),
        (b"\xff", b""),
    ]
    async with world(kafka_bootstrap, store) as w:
        w.verdict = lambda record: None if record.value == b"good" else ValueError("not of this world")
        messages = [Message(w.topic, key, value, ((("h", b"\xff")),), 0) for key, value in garbage]
        await w.publish(*messages, w.message(b"good"))
        w.relay()
        w.consume()
        records = await w.read_topic(f"dlt-{w.topic}", len(garbage))
        assert w.applied == [b"good"]
        assert {(record.key, record.value) for record in records} == set(garbage)
        letters = await w.letters()
        assert {(letter.key, letter.value) for letter in letters} == set(garbage)
        assert {letter.attempts for letter in letters} == {1}
        await w.until(lambda: _committed(w, {0: 6, 1: None, 2: None}))


async def test_a_record_that_the_client_itself_cannot_read_gets_a_letter_and_holds_nobody_up(
    kafka_bootstrap: str, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header's name that is no UTF-8: aiokafka raises over the whole batch."""
    build = BatchBuilder._build

    def spoil(self: BatchBuilder) -> bytes:
        spoilt = bytearray(bytes(build(self)).replace(b"spoilt", b"\xff\xfe\xff\xfe\xff\xfe"))
        struct.pack_into(">I", spoilt, 17, calc_crc32c(bytes(spoilt[21:])))
        return bytes(spoilt)

    async with world(kafka_bootstrap, store) as w:
        w.verdict = lambda record: None if record.value else ValueError("empty")
        monkeypatch.setattr(BatchBuilder, "_build", spoil)
        await w.publish(w.message(b"a"), w.message(b"b"))
        await w.publish(w.message(b"unreadable", headers=(("spoilt", b"x"),)))
        await w.publish(w.message(b"c"), w.message(b"elsewhere", partition=1))
        monkeypatch.undo()
        w.relay()
        w.consume()
        await w.until(lambda: sorted(filter(None, w.applied)) == [b"a", b"b", b"c", b"elsewhere"])
        (letter,) = await w.until(w.letters)
        assert (letter.partition, letter.offset, letter.value) == (0, 2, None)
        await w.until(lambda: _committed(w, {0: 4, 1: 1, 2: None}))


async def test_a_replay_is_applied_and_settles_its_letter(kafka_bootstrap: str, store: Database) -> None:
    async with world(kafka_bootstrap, store) as w:
        w.verdict = lambda record: Refused("unknown", "no") if record.value == b"bad" else None
        await w.publish(w.message(b"bad", partition=1, headers=ORIGINAL_HEADERS))
        w.relay()
        w.consume()
        (letter,) = await w.until(w.letters)
        w.verdict = lambda _record: None
        await w.database.write(
            lambda connection: replay(
                connection,
                letter.id,
                outbox=w.outbox,
                now=w.clock.now(),
                new_id=w.new_id,
                asked=Asked("me"),
            )
        )
        await w.until(lambda: w.applied == [b"bad"])

        async def settled() -> bool:
            (one,) = await w.letters()
            return one.state is LetterState.SETTLED

        await w.until(settled)
        replayed = w.attempts[-1]
        assert replayed.partition == 1
        assert replayed.headers == (
            *ORIGINAL_HEADERS,
            ("handfast-letter-id", letter.id.encode()),
            ("handfast-replays", b"1"),
        )


async def _committed(w: World, expected: dict[int, int | None]) -> bool:
    return await w.committed() == expected
