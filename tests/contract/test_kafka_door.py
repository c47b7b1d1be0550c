"""The Kafka door: each record its own verdict, fatal or to be tried again; outcomes in the same commit."""

import asyncio
import dataclasses
from collections.abc import Sequence

import pydantic_core
import pytest
from sqlalchemy import Connection

from shared.bell import Bell
from shared.errors import DatabaseUnavailable, Transient
from shared.messaging import letters
from shared.messaging.broker import Record
from shared.messaging.failure import failure_of
from shared.messaging.letters import DeadLetter
from shared.messaging.listener import Listener, Subject
from shared.messaging.retry import Retry
from shared.tcc.command import Context
from shared.tcc.confirmations import confirm_message, confirmation_listener, read_outcome
from shared.tcc.protocol import State
from tests.contract.cases import ToyClaim
from tests.contract.world import World

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def listener(world: World) -> Listener:
    return confirmation_listener(world.host, Retry.parse("fixed:1s,3"))


def record(
    world: World, branch_id: str = "branch-1", transaction_id: str | None = "tx-1", offset: int = 0
) -> Record:
    message = confirm_message(
        world.case.participant.topic,
        "key",
        reservation_id=branch_id,
        transaction_id=transaction_id,
        decided_at=world.clock.now(),
        source="coordinator",
        traceparent=TRACE,
    )
    return Record(message.topic, 0, offset, 0, 0, message.key, message.value, message.headers)


def raw(value: bytes | None) -> Record:
    return Record("toy-confirmation", 0, 0, 0, 0, None, value)


async def outcomes(world: World) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    for message in await world.outgoing():
        assert message.topic == "tcc-outcomes"
        outcome = read_outcome(Record(message.topic, 0, 0, 0, 0, message.key, message.value, message.headers))
        found.append((outcome.transaction_id, outcome.branch_id, outcome.outcome))
    return found


async def certain(world: World, records: Sequence[Record]) -> None:
    """Deliver until every record is taken, as the consumer's rounds do, and sweep until it is applied."""
    left = list(records)
    for _ in range(20):
        verdicts = await listener(world).handle(left)
        left = [each for each, verdict in zip(left, verdicts, strict=True) if verdict is not None]
        if not left and not await world.host.page(State.CONFIRMING, "", 1):
            return
        assert all(isinstance(verdict, Transient) for verdict in verdicts if verdict is not None), verdicts
        world.clock.advance(20_000)
        await world.sweeper.sweep()
    raise AssertionError(f"never applied: {verdicts}")


async def test_a_confirm_is_applied_and_its_outcome_sent(world: World) -> None:
    await world.tried()
    await certain(world, [record(world)])

    assert await world.state() is State.CONFIRMED
    assert await world.ledger() in ((0, 1), (None, 1))
    assert await outcomes(world) == [("tx-1", "branch-1", "confirmed")]


async def test_a_duplicate_changes_nothing_and_repeats_its_outcome(world: World) -> None:
    await world.tried()
    await certain(world, [record(world)])
    assert await listener(world).handle([record(world), record(world)]) == [None, None]

    assert await world.ledger() in ((0, 1), (None, 1))
    assert await outcomes(world) == [("tx-1", "branch-1", "confirmed")] * 3


async def test_the_trace_goes_on_with_the_outcome(toy: World) -> None:
    await toy.try_()
    await listener(toy).handle([record(toy)])
    [message] = await toy.outgoing()

    headers = dict(message.headers)
    assert headers["traceparent"] == TRACE.encode()
    assert headers["ce_source"] == b"contract"
    assert headers["ce_type"] == b"handfast.confirmed"
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_id"]


async def test_one_bad_record_spoils_nothing_else(toy: World) -> None:
    for number in range(4):
        await toy.try_(f"branch-{number}")
    await toy.cancel("branch-2")
    records = [
        record(toy, "branch-0"),
        raw(b"\xff garbage"),
        record(toy, "branch-1"),
        record(toy, "unheard-of"),
        record(toy, "branch-2"),
        record(toy, "branch-3", "tx-2"),
        record(toy, "branch-3"),
    ]
    door = listener(toy)
    verdicts = await door.handle(records)

    assert [None if verdict is None else door.is_fatal(verdict) for verdict in verdicts] == [
        None,
        True,
        None,
        True,
        True,
        True,
        None,
    ]
    assert await toy.ledger() == (0, 3)
    assert {branch for _, branch, _ in await outcomes(toy)} == {"branch-0", "branch-1", "branch-3"}
    assert toy.conflicts() == 2, "the cancelled one and the foreign transaction"


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"confirm"',
        b'{"reservationId": "a b", "decision": "confirm", "decidedAt": "2026-11-21T00:00:00Z"}',
        b'{"reservationId": "branch-1", "decision": "cancel", "decidedAt": "2026-11-21T00:00:00Z"}',
        b'{"reservationId": "branch-1", "decision": "confirm", "decidedAt": "yesterday"}',
        b'{"reservationId": "branch-1", "decision": "confirm", "decidedAt": "2026-11-21T00:00:00"}',
        b'{"reservationId": "branch-1", "decision": "confirm"}',
        b'{"reservationId": 1, "decision": "confirm", "decidedAt": "2026-11-21T00:00:00Z"}',
        b'{"transactionId": "", "reservationId": "b", "decision": "confirm", "decidedAt": "2026-11-21T00Z"}',
    ],
)
async def test_what_is_no_confirm_is_fatal(toy: World, value: bytes | None) -> None:
    await toy.try_()
    door = listener(toy)
    [verdict] = await door.handle([raw(value)])

    assert verdict is not None
    assert door.is_fatal(verdict)
    assert await toy.state() is State.TRIED


async def test_unknown_fields_are_passed_over(toy: World) -> None:
    await toy.try_()
    told = record(toy)
    assert told.value is not None
    value = pydantic_core.to_json(pydantic_core.from_json(told.value) | {"colour": "brown"})

    assert await listener(toy).handle([dataclasses.replace(told, value=value)]) == [None]


async def test_a_coordinated_branch_is_not_confirmed_without_its_transaction(toy: World) -> None:
    await toy.try_()
    door = listener(toy)
    [verdict] = await door.handle([record(toy, transaction_id=None)])

    assert verdict is not None
    assert door.is_fatal(verdict)
    assert await toy.state() is State.TRIED


async def test_a_transient_refusal_of_the_rule_is_not_fatal(toy: World) -> None:
    def frozen(_connection: Connection, _claim: ToyClaim, _context: Context) -> None:
        raise Transient("Frozen.", "product-frozen")

    await toy.try_()
    thawed = toy.case.participant.on_confirm
    object.__setattr__(toy.case.participant, "on_confirm", frozen)
    door = listener(toy)
    [verdict] = await door.handle([record(toy)])
    assert isinstance(verdict, Transient)
    assert not door.is_fatal(verdict)
    assert await toy.state() is State.TRIED
    assert await outcomes(toy) == []

    answer = await toy.confirm()
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:handfast:problem:product-frozen"
    object.__setattr__(toy.case.participant, "on_confirm", thawed)
    assert await door.handle([record(toy)]) == [None]


async def test_our_own_mistake_is_that_record_s_alone_and_not_fatal(toy: World) -> None:
    def broken(_connection: Connection, claim: ToyClaim, _context: Context) -> None:
        raise ZeroDivisionError(claim.name)

    await toy.try_()
    object.__setattr__(toy.case.participant, "on_confirm", broken)
    door = listener(toy)
    [verdict] = await door.handle([record(toy)])

    assert isinstance(verdict, ZeroDivisionError)
    assert not door.is_fatal(verdict)


async def test_a_database_that_is_away_is_everybody_s_verdict(toy: World) -> None:
    await toy.try_()
    await toy.database.close()

    with pytest.raises(DatabaseUnavailable):
        await listener(toy).handle([record(toy)])


async def test_a_failing_rule_is_undone_alone_in_its_batch(toy: World) -> None:
    keep = toy.case.participant.on_confirm

    def keep_but_one(connection: Connection, claim: ToyClaim, context: Context) -> None:
        keep(connection, claim, context)
        if context.branch_id == "branch-1":
            raise Transient("Not this one, not now.")

    for number in range(3):
        await toy.try_(f"branch-{number}")
    object.__setattr__(toy.case.participant, "on_confirm", keep_but_one)
    verdicts = await listener(toy).handle([record(toy, f"branch-{number}") for number in range(3)])

    assert [type(verdict) for verdict in verdicts] == [type(None), Transient, type(None)]
    assert await toy.ledger() == (1, 2)
    assert await toy.state("branch-1") is State.TRIED


async def test_an_expired_standalone_reservation_is_not_confirmed_by_a_message_alone(toy: World) -> None:
    branch_id = (await toy.standalone(seconds=30)).json()["id"]
    toy.clock.advance(30_000)
    door = listener(toy)
    [verdict] = await door.handle([record(toy, branch_id, None)])

    assert verdict is not None
    assert door.is_fatal(verdict)
    assert await toy.ledger() == (1, 0)


async def test_waiters_are_woken_by_the_batch_itself(toy: World) -> None:
    toy.host._bell = bell = Bell(poll=1_000)
    branch = (await toy.standalone()).json()["id"]
    await toy.client.put(f"{toy.path}/{branch}")
    waiting = asyncio.create_task(toy.host.wait_for(branch, frozenset({State.CONFIRMED}), 1_000))

    async def listening() -> bool:
        return branch in bell._waiting

    await toy.until(listening)
    await listener(toy).handle([record(toy, branch, None)])

    held = await asyncio.wait_for(waiting, 10)
    assert held is not None
    assert held.state is State.CONFIRMED


def test_a_record_s_subject_is_its_branch(toy: World) -> None:
    door = listener(toy)

    assert door.subject(record(toy)) == Subject("branch-1", "tx-1")
    assert door.subject(record(toy, transaction_id=None)) == Subject("branch-1", None)
    with pytest.raises(Exception, match="no confirm"):
        door.subject(raw(b"garbage"))


async def dead_letter(world: World, about: Record) -> None:
    door = listener(world)

    def bury(connection: Connection) -> None:
        letter: DeadLetter = letters.keep(
            connection,
            about,
            subject=None,
            failure=failure_of(Transient("It is frozen.")),
            attempts=4,
            group="toy",
            now=world.clock.now(),
            new_id=lambda: "letter",
        )
        door.on_dead_letter(connection, about, letter)

    await world.database.write(bury)


async def test_a_dead_letter_tells_its_transaction(toy: World) -> None:
    await toy.try_()
    await dead_letter(toy, record(toy))

    [message] = await toy.outgoing()
    assert message.value is not None
    assert pydantic_core.from_json(message.value) | {"at": None} == {
        "transactionId": "tx-1",
        "branchId": "branch-1",
        "outcome": "dead-lettered",
        "reason": "It is frozen.",
        "at": None,
    }


async def test_a_dead_letter_without_a_transaction_finds_it_at_the_fence(toy: World) -> None:
    await toy.try_()
    await dead_letter(toy, record(toy, transaction_id=None))

    assert await outcomes(toy) == [("tx-1", "branch-1", "dead-lettered")]


@pytest.mark.parametrize("value", [None, b"garbage"])
async def test_a_dead_letter_of_nobody_tells_nobody(toy: World, value: bytes | None) -> None:
    await dead_letter(toy, raw(value))

    assert await toy.outgoing() == []
