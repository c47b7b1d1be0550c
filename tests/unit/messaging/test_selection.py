"""Letters are found by every filter, in pages, by an index; and those that failed alike are one group."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, select

from shared.clock import Millis
from shared.errors import Refused
from shared.messaging.broker import Record
from shared.messaging.failure import failure_of
from shared.messaging.letters import LETTER, DeadLetter, LetterState, keep
from shared.messaging.selection import Selection, groups, page, place_of
from tests.unit.messaging.world import GROUP, TOPIC, World, subject, world


def freeze() -> None:
    raise Refused("frozen", "product 1 is frozen")


def read() -> None:
    raise ValueError("no JSON")


def frozen() -> Exception:
    return raised_by(freeze)


def unreadable() -> Exception:
    return raised_by(read)


def raised_by(act: Callable[[], None]) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever it raises
        act()
    return raised.value


async def kept(w: World, value: bytes, error: Exception, **of_record: Any) -> DeadLetter:
    known = {"topic": TOPIC, "key": b"k", **of_record}
    attempts = known.pop("attempts", 4)
    record = Record(known["topic"], 0, 0, w.clock.now(), 0, known["key"], value)
    letter: DeadLetter = await w.database.write(
        lambda connection: keep(
            connection,
            record,
            subject=subject(record),
            failure=failure_of(error),
            attempts=attempts,
            group=GROUP,
            now=w.clock.now(),
            new_id=w.new_id,
        )
    )
    await asyncio.sleep(1)
    return letter


async def found(w: World, **wanted: Any) -> list[bytes | None]:
    letters, more = await w.database.read(lambda connection: page(connection, Selection(**wanted), limit=100))
    assert not more
    return [letter.value for letter in letters]


async def test_every_filter_finds_its_letters() -> None:
    async with world() as w:
        first = await kept(w, b"a", frozen(), key=b"one")
        second = await kept(w, b"b", unreadable(), topic="payment-capture", attempts=1)
        third = await kept(w, b"c", frozen(), key=None, attempts=9)
        assert await found(w) == [b"a", b"b", b"c"]
        assert await found(w, topic="payment-capture") == [b"b"]
        assert await found(w, state=LetterState.OPEN) == [b"a", b"b", b"c"]
        assert await found(w, state=LetterState.PARKED) == []
        assert await found(w, exception="shared.errors.Refused") == [b"a", b"c"]
        assert await found(w, exception="ValueError") == [b"b"]
        assert await found(w, exception="Error") == [], "a name is whole or it isn't meant"
        assert await found(w, group=second.failure.fingerprint) == [b"b"]
        assert await found(w, key=b"one") == [b"a"]
        assert await found(w, since=second.created_at) == [b"b", b"c"]
        assert await found(w, until=second.created_at) == [b"a"]
        assert await found(w, attempts=5) == [b"c"]
        assert await found(w, transaction_id="tx-of-c") == [b"c"]
        both = {"since": first.created_at, "until": third.created_at, "exception": "Refused"}
        assert await found(w, **both) == [b"a"]


async def test_letters_that_failed_alike_are_one_group() -> None:
    async with world() as w:
        first = await kept(w, b"a", frozen())
        await kept(w, b"b", unreadable(), topic="payment-capture")
        await kept(w, b"c", frozen(), topic="payment-capture")
        again = await kept(w, b"a", frozen())
        listed, more = await w.database.read(lambda connection: groups(connection, limit=10))
        assert not more
        one, other = sorted(listed, key=lambda group: -group.count)
        assert (one.count, one.topics) == (2, {TOPIC: 1, "payment-capture": 1})
        assert (one.exception, one.states) == ("shared.errors.Refused", {LetterState.OPEN: 2})
        assert one.place.endswith("messaging/test_selection.py in freeze")
        assert one.first_seen == first.created_at
        assert one.last_seen == again.failed_at > first.failed_at
        assert (other.exception, other.count) == ("builtins.ValueError", 1)
        pages = await w.database.read(lambda connection: groups(connection, limit=1))
        assert (len(pages[0]), pages[1]) == (1, True)
        after = pages[0][0].fingerprint
        rest = await w.database.read(lambda connection: groups(connection, after=after, limit=1))
        assert ([*pages[0], *rest[0]], rest[1]) == (
            sorted(listed, key=lambda group: group.fingerprint),
            False,
        )
        narrowed = await w.database.read(
            lambda connection: groups(connection, Selection(topic=TOPIC), limit=10)
        )
        assert [(group.count, group.topics) for group in narrowed[0]] == [(1, {TOPIC: 1})]


async def test_a_group_says_the_same_whatever_the_line_and_the_message() -> None:
    async with world() as w:
        await kept(w, b"a", unreadable())
        error = ValueError("another message")
        error.__traceback__ = unreadable().__traceback__
        await kept(w, b"b", error)
        listed, _ = await w.database.read(lambda connection: groups(connection, limit=10))
        assert [group.count for group in listed] == [2]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, "letter_by_time"),
        ({"since": 5}, "letter_by_time"),
        ({"topic": TOPIC}, "letter_by_topic"),
        ({"state": LetterState.OPEN, "since": 5}, "letter_by_state"),
        ({"group": "0123456789abcdef"}, "letter_by_group"),
        ({"exception": "shared.errors.Refused"}, "letter_by_exception"),
        ({"transaction_id": "t"}, "letter_by_transaction"),
        ({"key": b"k"}, "letter_by_key"),
    ],
)
async def test_a_page_is_read_in_order_from_an_index(wanted: dict[str, Any], index: str) -> None:
    """However many letters there are: no scan of all of them, and nothing is sorted."""
    async with world() as w:

        def plan(connection: Connection) -> str:
            in_order = (LETTER.c.created_at, LETTER.c.id)
            statement = select(LETTER).where(*Selection(**wanted).conditions()).order_by(*in_order).limit(9)
            compiled = statement.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")
            return "\n".join(row[3] for row in rows)

        said = await w.database.read(plan)
        assert index in said
        assert "TEMP B-TREE" not in said


async def test_a_page_goes_on_where_the_one_before_ended_also_within_an_instant() -> None:
    async with world() as w:
        instants: list[Millis] = []
        for number in range(4):
            letter = await kept(w, b"r%d" % number, unreadable())
            instants.append(letter.created_at)
        together = {"created_at": instants[1]}
        await w.database.write(
            lambda connection: connection.execute(LETTER.update().values(**together)).rowcount
        )
        ids = sorted(letter.id for letter in await w.letters())
        first, more = await w.database.read(lambda connection: page(connection, limit=3))
        assert ([letter.id for letter in first], more) == (ids[:3], True)
        after = place_of(first[-1])
        rest, more = await w.database.read(lambda connection: page(connection, after=after, limit=3))
        assert ([letter.id for letter in rest], more) == (ids[3:], False)
