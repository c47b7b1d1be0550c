"""What the consumer promises about retries, letters and offsets."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.errors import DatabaseUnavailable, Refused, Transient
from shared.messaging.broker import Record, TopicPartition
from shared.messaging.consumer import Verdict
from shared.messaging.letters import LetterState
from tests.unit.messaging.world import GROUP, TOPIC, world

FROZEN = Transient("the product is frozen")


def fails(*values: bytes, error: Exception = FROZEN, record: Record) -> Verdict:
    return error if record.value in values else None


async def test_four_deliveries_then_a_letter() -> None:
    async with world() as w:
        w.verdict = lambda record: fails(b"bad", record=record)
        w.publish(b"bad")
        w.consume()
        (letter,) = await w.until_letters(lambda letters: letters)
        assert w.attempts_of(b"bad") == [0.0, 1.0, 2.0, 3.0]
        assert letter.attempts == 4
        assert letter.branch_id == "bad"
        assert letter.transaction_id == "tx-of-bad"
        assert letter.state is LetterState.OPEN
        assert [one.id for one in w.outcomes] == [letter.id]
        await w.until(lambda: w.offsets() == {0: 1})


async def test_exponential_back_off_is_kept_to() -> None:
    async with world() as w:
        w.verdict = lambda record: fails(b"bad", record=record)
        w.publish(b"bad")
        w.consume(w.listener("exponential:1s,2.0,3s,4"))
        await w.until_letters(lambda letters: letters)
        assert w.attempts_of(b"bad") == [0.0, 1.0, 3.0, 6.0, 9.0]


async def test_what_recovers_leaves_no_letter() -> None:
    async with world() as w:
        w.verdict = lambda record: FROZEN if len(w.attempts_of(record.value or b"")) < 3 else None
        w.publish(b"late")
        w.consume()
        await w.until(lambda: w.offsets() == {0: 1})
        assert w.attempts_of(b"late") == [0.0, 1.0, 2.0]
        assert await w.letters() == []


@pytest.mark.parametrize(
    "error",
    [Refused("unknown-reservation", "who is that?", 404), ValueError("no JSON"), UnicodeError("bytes")],
)
async def test_fatal_errors_are_dead_lettered_at_once(error: Exception) -> None:
    async with world() as w:
        w.verdict = lambda record: fails(b"bad", error=error, record=record)
        w.publish(b"bad")
        w.consume()
        (letter,) = await w.until_letters(lambda letters: letters)
        assert w.attempts_of(b"bad") == [0.0]
        assert letter.attempts == 1


@pytest.mark.parametrize("garbage", [b"\xff\xfe\x00", None])
async def test_what_cannot_be_decoded_is_dead_lettered_at_once_by_its_hash(garbage: bytes | None) -> None:
    async with world() as w:
        w.verdict = lambda _record: FROZEN
        w.publish(garbage, key=b"k")
        w.publish(garbage, key=b"k", partition=1)
        w.publish(garbage, key=b"other")
        w.consume()
        letters = await w.until_letters(lambda letters: sum(one.attempts for one in letters) == 3)
        assert sorted(one.attempts for one in letters) == [1, 2]
        assert {one.branch_id for one in letters} == {None}
        assert {one.value for one in letters} == {garbage}


async def test_one_bad_record_spoils_neither_its_batch_nor_its_partition() -> None:
    async with world() as w:
        w.verdict = lambda record: fails(b"r3", record=record)
        for number in range(10):
            w.publish(b"r%d" % number)
        w.consume()
        await w.until(lambda: len(w.attempts) == 10)
        assert w.batches == [10]
        await w.until(lambda: w.offsets() == {0: 3})
        w.publish(b"newcomer")
        await w.until(lambda: w.attempts_of(b"newcomer"))
        assert w.attempts_of(b"newcomer")[0] <= 1.2, "it waited for more than one back-off"
        assert w.offsets() == {0: 3}, "the record before it still waits"
        await w.until(lambda: w.offsets() == {0: 11})
        assert [len(w.attempts_of(b"r%d" % number)) for number in range(10)] == [1, 1, 1, 4, 1, 1, 1, 1, 1, 1]


async def test_many_failures_cost_one_back_off_a_round() -> None:
    async with world(partitions=1) as w:
        w.verdict = lambda _record: FROZEN
        for number in range(200):
            w.publish(b"r%d" % number)
        w.consume(w.listener("exponential:1s,2.0,10s,2+jitter"))
        letters = await w.until_letters(lambda letters: len(letters) == 200)
        assert w.batches == [200, 200, 200]
        assert {letter.attempts for letter in letters} == {3}


async def test_a_failing_partition_is_paused_while_it_backs_off_and_the_others_go_on() -> None:
    async with world() as w:
        w.verdict = lambda record: fails(b"bad", record=record)
        w.publish(b"bad", partition=0)
        w.consume()
        await w.until(lambda: w.subscriptions[0].paused == {TopicPartition(TOPIC, 0)})
        started = w.loop.time()
        w.publish(b"elsewhere", partition=1)
        await w.until(lambda: w.attempts_of(b"elsewhere"))
        assert w.loop.time() - started < 0.1
        assert w.subscriptions[0].assigned() == {TopicPartition(TOPIC, number) for number in range(3)}
        await w.until(lambda: w.offsets() == {0: 1, 1: 1})
        assert w.subscriptions[0].paused == set()


async def test_a_handler_that_raises_over_a_batch_is_given_its_records_one_by_one() -> None:
    async with world() as w:

        async def handle(records: Sequence[Record]) -> list[Verdict]:
            w.batches.append(len(records))
            if any(record.value == b"bomb" for record in records):
                raise RuntimeError("boom")
            w.attempts.extend((0.0, record.value) for record in records)
            return [None] * len(records)

        w.handle = handle  # type: ignore[method-assign]
        for value in (b"a", b"bomb", b"b"):
            w.publish(value)
        w.consume()
        (letter,) = await w.until_letters(lambda letters: letters)
        assert letter.failure.type == "builtins.RuntimeError"
        assert letter.attempts == 4
        assert sorted(value for _, value in w.attempts if value) == [b"a", b"b"]


async def test_the_database_out_of_reach_costs_no_attempt_and_makes_no_letter() -> None:
    async with world() as w:
        w.verdict = lambda _record: None if w.database.available else DatabaseUnavailable("the disk is gone")
        w.database.available = False
        for number in range(3):
            w.publish(b"r%d" % number)
        consumer = w.consume()
        await asyncio.sleep(600)
        assert len(w.attempts_of(b"r0")) > 10
        assert w.offsets() == {}
        assert "disk" in str(consumer.health())
        w.database.available = True
        await w.until(lambda: w.offsets() == {0: 3})
        assert await w.letters() == []
        assert consumer.health() is None


@pytest.mark.parametrize(("reset", "deliveries"), [(True, 8), (False, 5)])
async def test_a_letter_that_cannot_be_stored_is_tried_again(reset: bool, deliveries: int) -> None:
    """resetStateOnRecoveryFailure: from the first retry on, or after one more delivery."""
    async with world() as w:
        w.verdict = lambda record: fails(b"bad", record=record)
        refusals = [RuntimeError("the letter's table is locked")]
        listener = w.listener()

        def refuse_once(*_: object) -> None:
            if refusals:
                raise refusals.pop()

        object.__setattr__(listener, "on_dead_letter", refuse_once)
        w.publish(b"bad")
        w.consume(listener, reset_state_on_recovery_failure=reset)
        await w.until(lambda: len(w.attempts) == 4)
        assert w.offsets() == {}, "neither effect nor letter is durable"
        (letter,) = await w.until_letters(lambda letters: letters)
        assert len(w.attempts) == deliveries
        assert letter.attempts == deliveries
        await w.until(lambda: w.offsets() == {0: 1})


async def test_the_offset_follows_the_effect() -> None:
    """A member that dies between effect and commit leaves the record to the next one."""
    async with world() as w:
        gate = asyncio.Event()

        async def handle(records: Sequence[Record]) -> list[Verdict]:
            w.attempts.extend((0.0, record.value) for record in records)
            await gate.wait()
            return [None] * len(records)

        w.handle = handle  # type: ignore[method-assign]
        w.publish(b"once")
        w.consume()
        await w.until(lambda: len(w.attempts) == 1)
        assert w.offsets() == {}
        w.tasks[0].cancel()
        await asyncio.gather(w.tasks[0], return_exceptions=True)
        assert w.offsets() == {}
        gate.set()
        w.consume()
        await w.until(lambda: w.offsets() == {0: 1})
        assert len(w.attempts) == 2


async def test_two_members_share_the_partitions_and_lose_nothing_when_one_goes() -> None:
    async with world() as w:
        for number in range(30):
            w.publish(b"r%d" % number, partition=number % 3)
        w.consume()
        w.consume()
        await w.until(lambda: w.offsets() == {0: 10, 1: 10, 2: 10})
        assert all(one.assigned() for one in w.subscriptions)
        w.tasks[0].cancel()
        await asyncio.gather(w.tasks[0], return_exceptions=True)
        for number in range(30, 60):
            w.publish(b"r%d" % number, partition=number % 3)
        await w.until(lambda: w.offsets() == {0: 20, 1: 20, 2: 20})
        assert {value for _, value in w.attempts} == {b"r%d" % number for number in range(60)}


async def test_a_revoked_partition_is_left_to_its_new_owner() -> None:
    async with world(partitions=1) as w:
        w.verdict = lambda record: fails(b"bad", record=record)
        w.publish(b"bad")
        w.consume()
        await w.until(lambda: w.subscriptions[0].paused)
        w.verdict = lambda _record: None
        w.tasks[0].cancel()
        await asyncio.gather(w.tasks[0], return_exceptions=True)
        w.consume()
        await w.until(lambda: w.offsets() == {0: 1})
        assert await w.letters() == []


async def test_rebalances_neither_shorten_a_back_off_nor_add_retries() -> None:
    async with world() as w:
        w.verdict = lambda record: fails(b"bad", record=record)
        w.publish(b"bad", partition=0)
        w.publish(b"good", partition=0)
        w.consume(w.listener("fixed:1s,3"))
        await w.until(lambda: w.attempts_of(b"bad"))
        (started,) = w.attempts_of(b"bad")
        async with asyncio.timeout(20):
            while not await w.letters():
                w.broker.rebalance(GROUP)
                await asyncio.sleep(0.3)
        spans = [at - started for at in w.attempts_of(b"bad")]
        assert [round(span, 1) for span in spans] == pytest.approx([0.0, 1.0, 2.0, 3.0], abs=0.3)
        await w.until(lambda: w.offsets() == {0: 2})


async def test_what_failed_before_says_nothing_of_another_record_at_its_offset() -> None:
    async with world(partitions=1) as w:
        w.verdict = lambda record: fails(b"bad", record=record)
        w.publish(b"bad")
        w.consume(w.listener("fixed:10s,3"))
        await w.until(lambda: w.subscriptions[0].paused)
        w.broker.forget()
        await w.broker.ensure_topics({TOPIC: 1, "dlt-" + TOPIC: 1})
        w.publish(b"another")
        await w.until(lambda: w.offsets() == {0: 1}, 5.0)
        assert len(w.attempts_of(b"another")) == 1


async def test_each_member_tells_the_lag_of_its_own_partitions() -> None:
    async with world() as w:
        one, other = w.consume(), w.consume()
        w.verdict = lambda record: fails(record.value or b"", record=record)
        for number in range(12):
            w.publish(b"r%d" % number, partition=number % 3)
        await w.until(lambda: (one.lag() or 0) + (other.lag() or 0) == 12)
        assert {one.lag(), other.lag()} == {4, 8}
        assert one.lag_by_topic() == {TOPIC: one.lag()}
        w.broker.available = False
        await w.until(one.health)
        assert one.lag() is None, "nobody knows what has arrived meanwhile"


async def test_the_lag_is_a_metric() -> None:
    async with world() as w:
        w.verdict = lambda record: fails(b"bad", record=record)
        w.publish(b"bad")
        w.consume(registry=w.registry)
        labels = {"group": GROUP, "topic": TOPIC}

        def lag() -> float | None:
            return w.registry.get_sample_value("handfast_consumer_lag_records", labels)

        await w.until(lambda: lag() == 1)
        await w.until(lambda: w.offsets() == {0: 1}, 10.0)
        assert lag() == 0


async def test_a_broker_that_comes_back_empty_is_read_from_its_beginning() -> None:
    async with world() as w:
        consumer = w.consume()
        for number in range(5):
            w.publish(b"r%d" % number)
        await w.until(lambda: w.offsets() == {0: 5})
        w.broker.available = False
        await w.until(consumer.health)
        w.broker.forget()
        w.broker.available = True
        await w.broker.ensure_topics({TOPIC: 3, "dlt-" + TOPIC: 3})
        w.publish(b"after")
        await w.until(lambda: w.attempts_of(b"after"))
        await w.until(lambda: w.offsets() == {0: 1})
        assert consumer.health() is None


async def test_repeated_and_missing_headers_and_keys_do_no_harm() -> None:
    async with world() as w:
        w.publish(b"a", key=None)
        w.publish(b"b", headers=(("ce_id", b"1"), ("ce_id", b"2"), ("", b""), ("traceparent", b"\xff")))
        w.verdict = lambda record: fails(b"b", error=ValueError("no"), record=record)
        w.consume()
        (letter,) = await w.until_letters(lambda letters: letters)
        assert letter.headers == (("ce_id", b"1"), ("ce_id", b"2"), ("", b""), ("traceparent", b"\xff"))
        await w.until(lambda: w.offsets() == {0: 2})


async def test_what_has_arrived_is_one_batch() -> None:
    async with world() as w:
        for number in range(300):
            w.publish(b"r%d" % number, partition=number % 3)
        w.consume()
        await w.until(lambda: len(w.attempts) == 300)
        assert w.batches == [300]


async def test_waiting_records_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.messaging.consumer.MOST_WAITING", 20)
    monkeypatch.setattr("shared.messaging.consumer.BATCH", 10)
    async with world(partitions=1) as w:
        w.verdict = lambda _record: DatabaseUnavailable("the disk is gone")
        for number in range(100):
            w.publish(b"r%d" % number)
        w.consume()
        await asyncio.sleep(60)
        assert len({value for _, value in w.attempts}) <= 30
        w.verdict = lambda _record: None
        await w.until(lambda: w.offsets() == {0: 100})


async def test_health_says_that_the_broker_is_away() -> None:
    async with world() as w:
        w.broker.available = False
        consumer = w.consume()
        await asyncio.sleep(5)
        assert "away" in str(consumer.health())
        w.broker.available = True
        await w.until(lambda: consumer.health() is None)


async def test_a_consumer_that_was_stopped_can_run_again() -> None:
    """What waited in it comes again from the broker, and only from there."""
    async with world() as w:
        w.verdict = lambda record: fails(b"bad", record=record)
        w.publish(b"bad")
        consumer = w.consume()
        await w.until(lambda: w.subscriptions[0].paused)
        w.tasks[0].cancel()
        await asyncio.gather(w.tasks[0], return_exceptions=True)
        w.verdict = lambda _record: None
        w.attempts.clear()
        w.start(consumer.run())
        await w.until(lambda: w.offsets() == {0: 1})
        assert len(w.attempts) == 1


async def test_a_batch_under_way_is_ended_and_committed_before_the_member_leaves() -> None:
    async with world() as w:
        gate = asyncio.Event()

        async def handle(records: Sequence[Record]) -> list[Verdict]:
            w.attempts.extend((0.0, record.value) for record in records)
            await gate.wait()
            return [None] * len(records)

        w.handle = handle  # type: ignore[method-assign]
        w.publish(b"once")
        w.consume()
        await w.until(lambda: len(w.attempts) == 1)
        w.tasks[0].cancel()
        await asyncio.sleep(0.5)
        assert not w.tasks[0].done()
        gate.set()
        await asyncio.gather(w.tasks[0], return_exceptions=True)
        assert w.offsets() == {0: 1}
        assert len(w.attempts) == 1
