"""The same key and body have the same result; another body is refused; a mere failure isn't remembered."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Connection
from starlette.requests import Request

from shared.database.port import Database
from shared.database.sqlite import SqliteDatabase
from shared.errors import Refused, Transient
from shared.http.model import Body
from shared.idempotency import IDEMPOTENCY, Intent, Result, create_once, forget, intent_of


class Refund(Body):
    amount: int = 1


class Clock:
    now_ms = 1_000

    def now(self) -> int:
        return self.now_ms


class Refunds:
    """Creates numbered things, or refuses."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = Clock()
        self.created = 0
        self.error: Exception | None = None

    def create(self, _connection: Connection) -> tuple[str, str]:
        if self.error is not None:
            raise self.error
        self.created += 1
        return f"r{self.created}", f"new r{self.created}"

    def represent(self, _connection: Connection, resource: str) -> str:
        return f"now {resource}"

    async def ask(self, intent: Intent | None) -> Result[str]:
        return await create_once(self.database, self.clock, intent, self.create, self.represent)


@pytest.fixture
async def refunds(tmp_path: Path) -> AsyncIterator[Refunds]:
    database = SqliteDatabase(tmp_path / "test.db")
    await database.start()
    await database.write(lambda connection: IDEMPOTENCY.create(connection))
    yield Refunds(database)
    await database.close()


def request(key: bytes | None) -> Request:
    headers = [] if key is None else [(b"idempotency-key", key)]
    return Request({"type": "http", "headers": headers})


def asked(key: bytes, amount: int = 1) -> Intent:
    intent = intent_of(request(key), "refunds", Refund(amount=amount))
    assert intent is not None
    return intent


async def test_without_a_key_every_request_creates(refunds: Refunds) -> None:
    assert intent_of(request(None), "refunds", Refund()) is None
    assert await refunds.ask(None) == Result("new r1", repeated=False)
    assert await refunds.ask(None) == Result("new r2", repeated=False)


async def test_a_repeat_is_told_how_the_thing_is_now(refunds: Refunds) -> None:
    assert await refunds.ask(asked(b"k")) == Result("new r1", repeated=False)
    assert await refunds.ask(asked(b"k")) == Result("now r1", repeated=True)
    assert await refunds.ask(asked(b"other")) == Result("new r2", repeated=False)


async def test_another_body_under_the_key_is_refused(refunds: Refunds) -> None:
    await refunds.ask(asked(b"k"))
    for _ in range(2):
        with pytest.raises(Refused) as refusal:
            await refunds.ask(asked(b"k", amount=2))
        assert (refusal.value.status, refusal.value.slug) == (422, "idempotency-key-reused")
    assert await refunds.ask(asked(b"k")) == Result("now r1", repeated=True)


async def test_a_refusal_is_repeated_word_for_word(refunds: Refunds) -> None:
    refunds.error = Refused("too-much", "Ask for less.", 409, left=3, errors=[{"field": "a", "detail": "b"}])
    seen = []
    for error in (refunds.error, None, None):
        refunds.error = error
        with pytest.raises(Refused) as refusal:
            await refunds.ask(asked(b"k"))
        seen.append((refusal.value.slug, refusal.value.status, refusal.value.detail, refusal.value.extra))
    assert seen[0] == seen[1] == seen[2]
    assert refunds.created == 0
    with pytest.raises(Refused, match="another body"):
        await refunds.ask(asked(b"k", amount=2))


@pytest.mark.parametrize("error", [Transient(), RuntimeError("bug")])
async def test_what_failed_for_now_is_not_remembered(refunds: Refunds, error: Exception) -> None:
    refunds.error = error
    with pytest.raises(type(error)):
        await refunds.ask(asked(b"k"))
    refunds.error = None
    assert await refunds.ask(asked(b"k")) == Result("new r1", repeated=False)


async def test_twenty_at_once_create_one(refunds: Refunds) -> None:
    results = await asyncio.gather(*(refunds.ask(asked(b"k")) for _ in range(20)))
    assert sorted(result.repeated for result in results) == [False] + [True] * 19
    assert refunds.created == 1


async def test_of_a_refusal_and_a_faster_success_the_success_counts(refunds: Refunds) -> None:
    intent = asked(b"k")

    class Overtaken:
        """Right after a refusal was undone, another request with the key succeeds."""

        read = staticmethod(refunds.database.read)

        async def write(self, work: Callable[[Connection], Any]) -> Any:
            try:
                return await refunds.database.write(work)
            except Refused:
                await refunds.ask(intent)
                raise

    refused = Refunds(cast(Database, Overtaken()))
    refused.error = Refused("too-much", "Ask for less.")
    assert await refused.ask(intent) == Result("now r1", repeated=True)


@pytest.mark.parametrize("key", [b"", b"a b", b"\xe9", b"a" * 256, b"a\x00"])
def test_a_key_that_is_none_is_refused(key: bytes) -> None:
    with pytest.raises(Refused) as refusal:
        intent_of(request(key), "refunds", Refund())
    assert (refusal.value.status, refusal.value.slug) == (422, "invalid-request")


def test_the_hash_is_of_what_the_body_says() -> None:
    def hashed(body: bytes) -> str:
        intent = intent_of(request(b"k"), "refunds", Refund.model_validate_json(body))
        assert intent is not None
        return intent.body_hash

    assert hashed(b'{"amount": 1}') == hashed(b'{"amount":1}') == hashed(b"{}")
    assert hashed(b'{"amount":2}') != hashed(b"{}")


async def test_old_keys_are_forgotten(refunds: Refunds) -> None:
    await refunds.ask(asked(b"old"))
    refunds.clock.now_ms = 2_000
    await refunds.ask(asked(b"young"))
    assert await refunds.database.write(lambda connection: forget(connection, before=2_000, most=10)) == 1
    assert (await refunds.ask(asked(b"young"))).repeated
    assert not (await refunds.ask(asked(b"old"))).repeated
