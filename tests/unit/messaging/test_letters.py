"""Letters, their counters, replays and the ledger; the `dlt-` record."""

import asyncio
import struct

import pytest

from shared.errors import NotFound, Refused, Transient
from shared.messaging.broker import Record
from shared.messaging.failure import failure_of
from shared.messaging.ledger import Asked, LedgerLine, history
from shared.messaging.letters import DeadLetter, LetterState, find, keep, prune
from shared.messaging.replays import ReplayOutcome, replay
from shared.messaging.selection import Selection, page, place_of
from tests.unit.messaging.world import GROUP, TOPIC, World, subject, world

DLT = "dlt-" + TOPIC


async def dead_letter(w: World, value: bytes = b"bad", **options: object) -> DeadLetter:
    """Have a record fail for good."""
    w.verdict = lambda record: Refused("unknown", "no such thing") if record.value == value else None
    w.publish(value, **options)  # type: ignore[arg-type]
    if not w.tasks:
        w.relay()
        w.consume()
    return (await w.until_letters(lambda letters: letters))[0]


async def ask(w: World, letter_id: str, who: str = "me", why: str | None = None) -> ReplayOutcome:
    outcome, _ = await w.database.write(
        lambda connection: replay(
            connection, letter_id, outbox=w.outbox, now=w.clock.now(), new_id=w.new_id, asked=Asked(who, why)
        )
    )
    assert isinstance(outcome, ReplayOutcome)
    return outcome


async def ledger(w: World, letter_id: str) -> list[LedgerLine]:
    lines, _ = await w.database.read(lambda connection: history(connection, letter_id=letter_id, limit=100))
    return list(lines)


async def state_of(w: World, letter_id: str) -> LetterState:
    letter: DeadLetter = await w.database.read(lambda connection: find(connection, letter_id))
    return letter.state


async def test_the_dead_letter_record_has_spring_s_headers_on_the_same_partition() -> None:
    async with world() as w:
        kept = (("ce_id", b"1"), ("ce_id", b"2"), ("handfast-letter-id", b"of an older letter"))
        letter = await dead_letter(w, partition=2, headers=kept)
        await w.until(lambda: w.broker.records(DLT))
        (record,) = w.broker.records(DLT)
        assert (record.partition, record.key, record.value) == (2, b"k", b"bad")
        assert record.headers[:2] == kept[:2]
        names = [name for name, _ in record.headers[2:]]
        assert names == [
            "kafka_dlt-original-topic",
            "kafka_dlt-original-partition",
            "kafka_dlt-original-offset",
            "kafka_dlt-original-timestamp",
            "kafka_dlt-original-timestamp-type",
            "kafka_dlt-original-consumer-group",
            "kafka_dlt-exception-fqcn",
            "kafka_dlt-exception-cause-fqcn",
            "kafka_dlt-exception-message",
            "kafka_dlt-exception-stacktrace",
            "handfast-letter-id",
            "handfast-attempts",
            "handfast-replays",
        ]
        added = dict(record.headers[2:])
        assert struct.unpack(">i", added["kafka_dlt-original-partition"]) == (2,)
        assert struct.unpack(">q", added["kafka_dlt-original-offset"]) == (0,)
        assert struct.unpack(">q", added["kafka_dlt-original-timestamp"]) == (letter.timestamp,)
        assert added["kafka_dlt-original-timestamp-type"] == b"CreateTime"
        assert added["kafka_dlt-exception-fqcn"] == b"shared.errors.Refused"
        assert added["handfast-letter-id"] == letter.id.encode()


async def test_a_repeat_raises_the_counters_of_the_open_letter() -> None:
    async with world() as w:
        first = await dead_letter(w)
        w.publish(b"bad", partition=1)
        (letter,) = await w.until_letters(lambda letters: letters[0].attempts == 2)
        assert letter.id == first.id
        assert letter.partition == 0, "the letter stays that of the first record"
        await w.until(lambda: len(w.broker.records(DLT)) == 2)
        assert {record.header("handfast-letter-id") for record in w.broker.records(DLT)} == {
            first.id.encode()
        }


async def test_a_replay_that_is_applied_settles_the_letter_and_is_in_the_ledger() -> None:
    async with world() as w:
        letter = await dead_letter(w, partition=1)
        w.verdict = lambda _record: None
        assert await ask(w, letter.id, who="ann", why="fixed") is ReplayOutcome.PUBLISHED
        assert await state_of(w, letter.id) is LetterState.REPLAYING
        (settled,) = await w.until_letters(lambda letters: letters[0].state is LetterState.SETTLED)
        assert settled.replays == 1
        replayed = w.broker.records(TOPIC)[-1]
        assert replayed.partition == 1
        assert replayed.headers == (("handfast-letter-id", letter.id.encode()), ("handfast-replays", b"1"))
        lines = await ledger(w, letter.id)
        assert [(line.who, line.why, line.letter_id) for line in lines] == [("ann", "fixed", letter.id)]


async def test_a_settled_letter_is_skipped() -> None:
    async with world() as w:
        letter = await dead_letter(w)
        w.verdict = lambda _record: None
        await ask(w, letter.id)
        await w.until_letters(lambda letters: letters[0].state is LetterState.SETTLED)
        published = len(w.broker.records(TOPIC))
        assert await ask(w, letter.id) is ReplayOutcome.SETTLED
        await asyncio.sleep(5)
        assert len(w.broker.records(TOPIC)) == published
        assert len(await ledger(w, letter.id)) == 1


async def test_a_replay_that_fails_opens_the_letter_again() -> None:
    async with world() as w:
        letter = await dead_letter(w)
        await ask(w, letter.id)
        (again,) = await w.until_letters(lambda letters: letters[0].attempts == 2)
        assert again.state is LetterState.OPEN
        assert (again.id, again.replays) == (letter.id, 1)
        await w.until(lambda: len(w.broker.records(DLT)) == 2)
        assert w.broker.records(DLT)[-1].header("handfast-replays") == b"1"
        assert len(w.outcomes) == 2


async def test_asking_twice_publishes_once() -> None:
    async with world() as w:
        letter = await dead_letter(w)
        w.tasks[1].cancel()  # Nobody consumes.
        assert await ask(w, letter.id) is ReplayOutcome.PUBLISHED
        assert await ask(w, letter.id) is ReplayOutcome.UNDER_WAY
        await asyncio.sleep(5)
        assert len(w.broker.records(TOPIC)) == 2
        await asyncio.sleep(60)
        assert await ask(w, letter.id) is ReplayOutcome.PUBLISHED, "it must not be stuck"


async def test_a_replay_that_the_broker_lost_is_published_again() -> None:
    async with world() as w:
        letter = await dead_letter(w)
        taken = w.broker.append
        w.broker.append = lambda message: None if message.topic == TOPIC else taken(message)  # type: ignore[method-assign]
        await ask(w, letter.id)
        await asyncio.sleep(20)
        w.verdict = lambda _record: None
        w.broker.append = taken  # type: ignore[method-assign]
        (settled,) = await w.until_letters(lambda letters: letters[0].state is LetterState.SETTLED)
        assert settled.replays == 1
        assert len(await ledger(w, letter.id)) == 1


async def test_an_open_letter_is_settled_when_its_record_comes_again_and_goes_through() -> None:
    async with world() as w:
        letter = await dead_letter(w)
        w.verdict = lambda _record: None
        w.publish(b"bad", partition=2)
        await w.until_letters(lambda letters: letters[0].state is LetterState.SETTLED)
        w.verdict = lambda _record: Refused("unknown", "again")
        w.publish(b"bad")
        letters = await w.until_letters(lambda letters: len(letters) == 2)
        assert letters[0].id == letter.id
        assert letters[1].state is LetterState.OPEN


async def test_a_letter_that_another_member_kept_is_settled_too() -> None:
    """What this member applied before it heard of the letter is looked at again."""
    async with world() as w:
        w.consume()
        await asyncio.sleep(2.5)  # Between two looks at the letters.
        await keep_one(w, b"bad")
        w.publish(b"bad")
        await w.until(lambda: w.attempts_of(b"bad"))
        assert (await w.letters())[0].state is LetterState.OPEN, "nothing told this member"
        await w.until_letters(lambda letters: letters[0].state is LetterState.SETTLED)


async def keep_one(w: World, value: bytes) -> None:
    """Keep a letter as another process would."""
    record = Record(TOPIC, 0, 0, w.clock.now(), 0, b"k", value)
    await w.database.write(
        lambda connection: keep(
            connection,
            record,
            subject=subject(record),
            failure=failure_of(Transient("frozen")),
            attempts=4,
            group=GROUP,
            now=w.clock.now(),
            new_id=w.new_id,
        )
    )


async def test_letters_are_listed_in_pages_by_topic_and_state() -> None:
    async with world() as w:
        for number in range(5):
            await keep_one(w, b"r%d" % number)
            await asyncio.sleep(0.01)
        letters = await w.letters()

        async def listed(
            topic: str | None = None,
            state: LetterState | None = None,
            after: DeadLetter | None = None,
            limit: int = 50,
        ) -> list[str]:
            selection = Selection(topic=topic, state=state)
            place = None if after is None else place_of(after)
            found, more = await w.database.read(
                lambda connection: page(connection, selection, after=place, limit=limit)
            )
            assert more is (len(found) == limit)
            return [letter.id for letter in found]

        ids = [letter.id for letter in letters]
        assert await listed() == ids
        assert await listed(limit=2) == ids[:2]
        assert await listed(after=letters[1], limit=2) == ids[2:4]
        assert await listed(topic="other") == []
        assert await listed(state=LetterState.OPEN) == ids
        assert await listed(state=LetterState.SETTLED) == []


async def test_only_settled_letters_are_pruned_and_the_ledger_keeps_what_was_done() -> None:
    async with world() as w:
        letter = await dead_letter(w)
        await keep_one(w, b"other")
        w.verdict = lambda _record: None
        await ask(w, letter.id)
        await w.until_letters(lambda letters: letters[0].state is LetterState.SETTLED)
        before, done = w.clock.now() + 1, await ledger(w, letter.id)
        assert done
        assert await w.database.write(lambda connection: prune(connection, before, most=10)) == 1
        assert [one.value for one in await w.letters()] == [b"other"]
        assert await ledger(w, letter.id) == done


async def test_an_unknown_letter_is_not_found() -> None:
    async with world() as w:
        with pytest.raises(NotFound):
            await ask(w, "nobody")


async def test_a_record_without_key_and_value_can_be_replayed() -> None:
    async with world() as w:
        w.verdict = lambda _record: ValueError("null")
        w.publish(None, key=None)
        w.relay()
        w.consume()
        (letter,) = await w.until_letters(lambda letters: letters)
        w.verdict = lambda _record: None
        await ask(w, letter.id)
        await w.until_letters(lambda letters: letters[0].state is LetterState.SETTLED)
        assert w.broker.records(TOPIC)[-1].value is None
