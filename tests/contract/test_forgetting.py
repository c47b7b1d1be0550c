"""What ended long ago is forgotten, when nothing can ask about it any more, and whatever comes all the same
changes nothing."""

import pytest
from sqlalchemy import Connection

from shared.clock import Millis
from shared.errors import Unreachable
from shared.messaging import letters
from shared.messaging.failure import failure_of
from shared.messaging.listener import Subject
from shared.messaging.outbox import oldest, remove
from shared.messaging.prospects import Prospect
from shared.retention import BATCH
from shared.tcc import fence
from shared.tcc.forgetting import Forgetting
from shared.tcc.protocol import State
from tests.contract.test_kafka_door import listener, record
from tests.contract.test_prospects import prospect
from tests.contract.world import World

RETENTION_MS: Millis = 2_592_000_000
"""As the hosts of this suite have it."""


async def forget(world: World) -> int:
    forgetting = Forgetting(world.host, world.coordinator, RETENTION_MS)
    return sum([gone async for gone in forgetting.sweep()])


async def confirmed(world: World, branch_id: str = "branch-1", transaction_id: str = "tx-1") -> None:
    await world.tried(branch_id, transaction_id)
    await world.confirmed(branch_id, transaction_id)


def after_retention(world: World, transaction_id: str = "tx-1") -> None:
    world.clock.advance(2 * RETENTION_MS)
    world.coordinator.over.add(transaction_id)


async def test_what_ended_long_ago_is_forgotten(world: World) -> None:
    await confirmed(world)
    await world.tried("branch-2", "tx-2")
    await world.cancelled("branch-2", "tx-2")
    before = await world.ledger()
    after_retention(world)
    after_retention(world, "tx-2")

    assert await forget(world) == 2
    assert await world.state("branch-1") is State.ABSENT
    assert await world.state("branch-2") is State.ABSENT
    assert await world.ledger() == before
    assert await forget(world) == 0


async def test_what_is_not_settled_is_never_forgotten(world: World) -> None:
    await world.tried()
    after_retention(world)
    assert await forget(world) == 0
    assert await world.state() is State.TRIED


async def test_nothing_is_forgotten_before_its_retention_is_over(toy: World) -> None:
    await confirmed(toy)
    toy.coordinator.over.add("tx-1")
    toy.clock.advance(RETENTION_MS)
    assert await forget(toy) == 0


async def test_retention_counts_from_the_end_of_the_transaction_which_only_the_coordinator_knows(
    toy: World,
) -> None:
    await confirmed(toy)
    toy.clock.advance(2 * RETENTION_MS)
    assert await forget(toy) == 0
    assert await toy.state() is State.CONFIRMED
    toy.coordinator.over.add("tx-1")
    assert await forget(toy) == 1


async def test_nothing_is_forgotten_while_the_coordinator_is_away(toy: World) -> None:
    await confirmed(toy)
    after_retention(toy)
    toy.coordinator.away = True
    with pytest.raises(Unreachable):
        await forget(toy)
    assert await toy.state() is State.CONFIRMED


async def test_a_branch_stays_while_a_try_with_its_deadline_is_not_refused_for_sure(toy: World) -> None:
    await toy.try_(deadline=toy.clock.now() + 3 * RETENTION_MS)
    await toy.confirm()
    after_retention(toy)
    assert await forget(toy) == 0
    toy.clock.advance(3 * RETENTION_MS)
    assert await forget(toy) == 1


async def test_a_branch_under_a_dead_letter_stays_until_that_is_settled(toy: World) -> None:
    await confirmed(toy)
    topic = toy.case.participant.topic

    def bury(connection: Connection) -> None:
        letters.keep(
            connection,
            record(toy),
            subject=Subject("branch-1", "tx-1"),
            failure=failure_of(ValueError("frozen")),
            attempts=4,
            group="toy",
            now=toy.clock.now(),
            new_id=lambda: "letter",
        )

    await toy.database.write(bury)
    after_retention(toy)
    assert await forget(toy) == 0
    await toy.database.write(
        lambda connection: letters.settle(connection, topic, ["branch-1"], toy.clock.now())
    )
    assert await forget(toy) == 1


async def test_what_stays_does_not_keep_what_comes_after_it(toy: World) -> None:
    await confirmed(toy)
    held = await toy.fence()
    assert held is not None
    # All at the same instant, so that their ids have to tell where it goes on.
    more = [
        held._replace(id=f"more-{number}", transaction_id=f"tx-{number}") for number in range(2, BATCH + 20)
    ]
    await toy.database.write(lambda connection: fence.insert_all(connection, more))
    after_retention(toy, "tx-2")
    after_retention(toy, f"tx-{BATCH + 19}")
    after_retention(toy, f"tx-{BATCH}")
    assert await forget(toy) == 3


async def test_a_standalone_reservation_goes_by_its_own_end(standalone: World) -> None:
    branch_id = (await standalone.standalone()).json()["id"]
    await standalone.client.delete(f"{standalone.path}/{branch_id}")
    standalone.coordinator.away = True  # Nobody has to be asked.
    standalone.clock.advance(RETENTION_MS)
    assert await forget(standalone) == 0
    standalone.clock.advance(RETENTION_MS)
    assert await forget(standalone) == 1
    assert (await standalone.client.get(f"{standalone.path}/{branch_id}")).status_code == 404


async def test_the_oldest_messages_change_nothing_once_their_branch_is_forgotten(world: World) -> None:
    deadline = world.clock.now() + 600_000
    await world.tried(deadline=deadline)
    await world.confirmed()
    before = await world.ledger()
    after_retention(world)
    await forget(world)
    await _empty_outbox(world)

    late = await world.try_(deadline=deadline)
    assert (late.status_code, late.json()["type"]) == (410, "urn:handfast:problem:reservation-expired")
    # It leaves no trace: what was confirmed must not look as if it had been cancelled.
    assert await world.state() is State.ABSENT

    door = listener(world)
    [verdict] = await door.handle([record(world)])
    assert verdict is not None
    assert door.is_fatal(verdict)
    assert (await world.confirm()).status_code == 404
    assert await world.state() is State.ABSENT
    assert await world.ledger() == before
    assert await world.outgoing() == []


async def test_an_old_cancel_leaves_a_tombstone_that_goes_again(toy: World) -> None:
    await toy.try_()
    await toy.cancel()
    after_retention(toy)
    assert await forget(toy) == 1

    assert (await toy.cancel()).status_code == 204
    assert await toy.state() is State.CANCELLED
    after_retention(toy)
    assert await forget(toy) == 1


async def test_a_repeated_try_of_a_branch_that_is_still_known_answers_as_before(toy: World) -> None:
    deadline = toy.clock.now() + 600_000
    await toy.try_(deadline=deadline)
    await toy.confirm()
    toy.clock.advance(2 * RETENTION_MS)
    again = await toy.try_(deadline=deadline)
    assert (again.status_code, again.json()["state"]) == (201, "CONFIRMED")


async def test_a_letter_whose_branch_was_forgotten_was_applied(toy: World) -> None:
    await confirmed(toy)
    after_retention(toy)
    await forget(toy)
    assert await prospect(toy) is Prospect.APPLIED
    assert toy.coordinator.asked == []


async def test_two_instances_forget_a_branch_once(world: World) -> None:
    await confirmed(world)
    after_retention(world)
    ids = ["branch-1"]
    first = await world.database.write(lambda connection: fence.forget(connection, ids))
    second = await world.database.write(lambda connection: fence.forget(connection, ids))
    assert [one.id for one in first] == ids
    assert second == []


async def _empty_outbox(world: World) -> None:
    rows = await world.database.read(lambda connection: oldest(connection, 10_000))
    await world.database.write(lambda connection: remove(connection, [row for row, _ in rows]))
