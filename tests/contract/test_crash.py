"""A crash between rule and commit: nothing of it stays, and the repeat does it whole."""

from collections.abc import Callable
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from shared.database.port import Database, Work
from shared.messaging.broker import Record
from shared.messaging.retry import Retry
from shared.tcc.confirmations import confirm_message, confirmation_listener
from shared.tcc.protocol import Phase, State
from tests.contract.world import World

T = TypeVar("T")


class Crash(Exception):
    """The process dies here."""


class CrashesBeforeCommit:
    """A way to the store on which every transaction dies once its work is done. Reads go through."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.worked = 0

    async def start(self) -> None:
        await self._database.start()

    async def write(self, work: Work[T]) -> T:
        def crash(connection: Connection) -> T:
            work(connection)
            self.worked += 1
            raise Crash

        return await self._database.write(crash)

    async def read(self, work: Work[T]) -> T:
        return await self._database.read(work)

    def on_commit(self, listener: Callable[[], None]) -> None:
        self._database.on_commit(listener)

    async def close(self) -> None:
        await self._database.close()


async def test_a_try_leaves_nothing_and_is_repeated(world: World) -> None:
    before = await world.ledger()
    dying = CrashesBeforeCommit(world.database)
    with pytest.raises(Crash):
        await world.rehosted(dying).handle(world.command(Phase.TRY))

    # A store may run work again before it is committed.
    assert dying.worked >= 1
    assert await world.state() is State.ABSENT
    assert (await world.tried()).status_code == 201
    assert (await world.ledger()).held in (1, None)
    await world.cancelled()
    assert await world.ledger() == before


@pytest.mark.parametrize("phase", [Phase.CONFIRM, Phase.CANCEL])
async def test_a_decision_leaves_nothing_and_is_repeated(world: World, phase: Phase) -> None:
    await world.tried()
    with pytest.raises(Crash):
        await world.rehosted(CrashesBeforeCommit(world.database)).handle(world.command(phase))

    assert await world.state() is State.TRIED
    assert await world.outgoing() == []
    decide = world.confirmed if phase is Phase.CONFIRM else world.cancelled
    assert (await decide()).status_code == 204
    assert await world.ledger() in (((0, 1), (None, 1)) if phase is Phase.CONFIRM else ((0, 0), (None, 0)))


async def test_a_tombstone_is_written_or_not_there(world: World) -> None:
    with pytest.raises(Crash):
        await world.rehosted(CrashesBeforeCommit(world.database)).handle(world.command(Phase.CANCEL))

    assert await world.state() is State.ABSENT
    assert (await world.tried()).status_code == 201


async def test_a_batch_leaves_nothing_and_comes_again(world: World) -> None:
    await world.tried()
    message = confirm_message(
        world.case.participant.topic,
        "key",
        reservation_id="branch-1",
        transaction_id="tx-1",
        decided_at=world.clock.now(),
        source="coordinator",
    )
    record = Record(message.topic, 0, 0, 0, 0, message.key, message.value, message.headers)
    dying = confirmation_listener(
        world.rehosted(CrashesBeforeCommit(world.database)), Retry.parse("fixed:1s,3")
    )
    with pytest.raises(Crash):
        await dying.handle([record])

    assert await world.state() is State.TRIED
    assert await world.outgoing() == []
    assert (await world.confirmed()).status_code == 204


async def test_a_standalone_decision_is_written_with_its_message_or_not_at_all(standalone: World) -> None:
    branch_id = (await standalone.standalone()).json()["id"]
    with pytest.raises(Crash):
        await standalone.rehosted(CrashesBeforeCommit(standalone.database)).request_confirm(branch_id)

    assert await standalone.state(branch_id) is State.TRIED
    assert await standalone.outgoing() == []
