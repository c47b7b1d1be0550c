"""What the strategies do when many come at once: who gets the last units, and what spoils whose hold."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, update
from sqlmodel import SQLModel

from shared.bell import Bell
from shared.clock import SystemClock
from shared.database.inline import InlineDatabase
from shared.database.port import Work
from shared.errors import Conflict, DatabaseUnavailable, Refused, Transient
from shared.identity import ulids
from shared.messaging.outbox import Outbox
from shared.tcc.participant import Answer, Command, Participant, ParticipantHost
from shared.tcc.protocol import Phase, State, Verdict
from shared.tcc.tries import LOOKS
from stock_service import products, purchases
from stock_service.claim import StockClaim
from stock_service.participant import BY_STRATEGY, Strategy
from stock_service.tables import PRODUCT, TABLES

T = TypeVar("T")


class Crash(Exception):
    """The process dies here."""


class Store(InlineDatabase):
    """A database with something to happen before each write, or within it, after its work."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self.writes = 0

    async def write(self, work: Work[T]) -> T:
        self.writes += 1
        self.before()

        def told(connection: Connection) -> T:
            result = work(connection)
            self.after()
            return result

        return await super().write(told)


class Shop:
    """Stock held by one strategy."""

    def __init__(self, strategy: Strategy, store: Store) -> None:
        self.store = store
        self.registry = CollectorRegistry()
        self.clock = SystemClock()
        self.host = self.hosting(BY_STRATEGY[strategy])

    def hosting(self, participant: Participant[StockClaim]) -> ParticipantHost[StockClaim]:
        return ParticipantHost(
            participant=participant,
            database=self.store,
            clock=self.clock,
            new_id=ulids(self.clock, random.Random(1)),
            outbox=Outbox(self.clock),
            bell=Bell(),
            source="test",
            registry=self.registry,
        )

    async def put(self, **changes: Any) -> None:
        await self.store.write(
            lambda connection: products.put(
                connection, "p", changes, allowed=lambda _: True, adjustment_id="a", now=1
            )
        )
        self.store.writes = 0

    def touch(self) -> None:
        """Change the product's version, as somebody else's hold does."""
        self.store.write_now(
            lambda connection: connection.execute(update(PRODUCT).values(version=PRODUCT.c.version + 1))
        )

    async def hold(self, branch_id: str, qty: int = 1, **more: Any) -> Answer:
        return await self.host.handle(self.command(branch_id, qty, **more))

    async def at_once(self, *quantities: int) -> list[str]:
        """Hold so many units each at once; return what each was told: "held", or the slug of its refusal."""
        calls = [self.hold(f"b-{number}", qty) for number, qty in enumerate(quantities)]
        return [told(answer) for answer in await asyncio.gather(*calls, return_exceptions=True)]

    def command(
        self, branch_id: str, qty: int, customer_id: str = "ada", transaction: bool = True
    ) -> Command[StockClaim]:
        return Command(
            phase=Phase.TRY,
            branch_id=branch_id,
            transaction_id=f"t-{branch_id}" if transaction else None,
            claim=StockClaim(product_id="p", qty=qty, customer_id=customer_id),
            expires_at=self.clock.now() + 60_000,
        )

    async def product(self) -> products.ProductRow:
        return await self.store.read(lambda connection: products.read(connection, "p"))

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


def told(answer: Answer | BaseException) -> str:
    if isinstance(answer, Refused | Transient):
        return answer.slug
    return type(answer).__name__ if isinstance(answer, BaseException) else "held"


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = Store()
    await store.start()
    store.write_now(lambda connection: SQLModel.metadata.create_all(connection, TABLES))
    yield store
    await store.close()


@pytest.fixture
def queue(store: Store) -> Shop:
    return Shop("queue", store)


@pytest.fixture
def optimist(store: Store) -> Shop:
    return Shop("optimistic", store)


async def test_what_waits_is_held_together_in_one_commit(queue: Shop) -> None:
    await queue.put(on_hand=100)
    version = (await queue.product()).version
    assert await queue.at_once(*[1] * 20) == ["held"] * 20
    product = await queue.product()
    assert (product.held, product.version, queue.store.writes) == (20, version + 1, 1)
    assert queue.counted("handfast_tries_gathered_total", done="together") == 20


async def test_of_a_batch_that_does_not_fit_the_first_to_come_get_the_units(queue: Shop) -> None:
    await queue.put(on_hand=6)
    answers = await queue.at_once(2, 2, 3, 1, 2, 1)
    short = "insufficient-stock"
    assert answers == ["held", "held", short, "held", short, "held"]
    assert (await queue.product()).held == 6
    assert queue.store.writes == 1
    assert queue.counted("handfast_tries_gathered_total", done="apart") == 6


async def test_a_purchase_limit_holds_within_a_batch(queue: Shop) -> None:
    await queue.put(on_hand=100, purchase_limit=3)
    assert await queue.at_once(1, 1, 1, 1, 1) == ["held"] * 3 + ["purchase-limit-reached"] * 2


async def test_a_refused_hold_of_a_batch_is_kept_in_a_transaction_and_leaves_no_trace_alone(
    queue: Shop,
) -> None:
    await queue.put(on_hand=1)
    await asyncio.gather(
        queue.hold("first"),
        queue.hold("second"),
        queue.hold("third", transaction=False),
        return_exceptions=True,
    )
    second = await queue.host.find("second")
    assert second is not None
    assert second.state is State.CANCELLED
    assert await queue.host.find("third") is None


async def test_a_claim_that_breaks_the_rule_spoils_no_other_of_its_batch(
    queue: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_in = purchases.count_in

    def count(connection: Connection, line: Any, customer_id: str) -> None:
        if customer_id == "poison":
            raise ValueError("out of order")
        count_in(connection, line, customer_id)

    monkeypatch.setattr(purchases, "count_in", count)
    await queue.put(on_hand=100)
    answers = await asyncio.gather(
        queue.hold("a"), queue.hold("b", customer_id="poison"), queue.hold("c"), return_exceptions=True
    )
    assert [told(answer) for answer in answers] == ["held", "ValueError", "held"]
    assert (await queue.product()).held == 2
    assert await queue.host.find("b") is None


async def test_a_repeat_within_a_batch_holds_once_and_another_body_is_a_conflict(queue: Shop) -> None:
    await queue.put(on_hand=100)
    first, again, other = await asyncio.gather(
        queue.hold("a", 1), queue.hold("a", 1), queue.hold("a", 2), return_exceptions=True
    )
    assert isinstance(first, Answer)
    assert isinstance(again, Answer)
    assert (first.verdict, again.verdict) == (Verdict.APPLY, Verdict.REPEAT)
    assert isinstance(other, Conflict)
    assert (await queue.product()).held == 1


async def test_a_crash_before_the_commit_leaves_nothing_of_a_batch_and_it_comes_again(queue: Shop) -> None:
    await queue.put(on_hand=100)

    def crash() -> None:
        raise Crash

    queue.store.after = crash
    assert await queue.at_once(1, 1, 1) == ["Crash"] * 3
    assert (await queue.product()).held == 0
    assert await queue.host.find("b-0") is None
    queue.store.after = lambda: None
    assert await queue.at_once(1, 1, 1) == ["held"] * 3
    assert (await queue.product()).held == 3


async def test_a_database_that_is_away_is_told_to_everybody_of_the_batch(queue: Shop) -> None:
    await queue.put(on_hand=100)

    def away() -> None:
        raise DatabaseUnavailable

    queue.store.before = away
    assert await queue.at_once(1, 1) == ["try-again"] * 2
    queue.store.before = lambda: None
    assert await queue.at_once(1, 1) == ["held"] * 2


async def test_the_queue_is_bounded(queue: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await queue.put(on_hand=100)
    monkeypatch.setattr("shared.tcc.tries.MOST_WAITING", 2)
    assert await queue.at_once(1, 1, 1) == ["held", "held", "contended"]


async def test_whoever_gives_up_waiting_spoils_no_other(queue: Shop) -> None:
    await queue.put(on_hand=100)
    impatient, patient = (asyncio.create_task(queue.hold(name)) for name in ("a", "b"))
    await asyncio.sleep(0)
    impatient.cancel()
    assert told(await patient) == "held"
    # What was asked for stands, as with any answer that is lost: its owner asks again, or cancels.
    assert (await queue.product()).held == 2


async def test_the_end_of_the_writer_leaves_nobody_waiting(queue: Shop) -> None:
    await queue.put(on_hand=100)

    def end() -> None:
        raise asyncio.CancelledError

    queue.store.before = end
    answers = await asyncio.gather(queue.hold("a"), queue.hold("b"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [asyncio.CancelledError] * 2
    queue.store.before = lambda: None
    assert await queue.at_once(1) == ["held"]


async def test_an_outdated_look_is_repeated_and_counted(optimist: Shop) -> None:
    await optimist.put(on_hand=100)
    others = iter(range(3))
    optimist.store.before = lambda: optimist.touch() if next(others, None) is not None else None
    assert told(await optimist.hold("a")) == "held"
    assert (await optimist.product()).held == 1
    assert optimist.counted("handfast_tries_outdated_total") == 3


async def test_looks_are_bounded_and_then_it_is_not_now_and_no_refusal(optimist: Shop) -> None:
    await optimist.put(on_hand=100)
    optimist.store.before = optimist.touch
    with pytest.raises(Transient) as transient:
        await optimist.hold("a")
    assert (transient.value.slug, transient.value.status) == ("contended", 503)
    assert optimist.counted("handfast_tries_outdated_total") == LOOKS
    assert await optimist.host.find("a") is None
    optimist.store.before = lambda: None
    assert told(await optimist.hold("a")) == "held"


async def test_a_repeat_is_answered_however_often_the_product_changes(optimist: Shop) -> None:
    await optimist.put(on_hand=100)
    await optimist.hold("a")
    optimist.store.before = optimist.touch
    assert (await optimist.hold("a")).verdict is Verdict.REPEAT


def test_a_participant_has_one_way_in() -> None:
    with pytest.raises(ValueError, match="one at most"):
        replace(BY_STRATEGY["queue"], foresee=BY_STRATEGY["optimistic"].foresee)
