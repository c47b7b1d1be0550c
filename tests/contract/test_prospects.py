"""What a dead-lettered Confirm stands for is told by the fence, and else by the coordinator."""

import pytest
from sqlalchemy import Connection

from shared.errors import Unreachable
from shared.messaging.broker import Record
from shared.messaging.failure import failure_of
from shared.messaging.letters import DeadLetter, keep
from shared.messaging.prospects import Prospect
from shared.tcc.confirmations import confirm_message
from shared.tcc.inquiry import Decision
from shared.tcc.prospects import ConfirmProspects
from tests.contract.world import World


async def prospect(
    world: World, branch_id: str = "branch-1", transaction_id: str | None = "tx-1", value: bytes | None = None
) -> Prospect:
    """Ask about a letter of a Confirm."""
    message = confirm_message(
        world.case.participant.topic,
        "key",
        reservation_id=branch_id,
        transaction_id=transaction_id,
        decided_at=world.clock.now(),
        source="coordinator",
    )
    record = Record(message.topic, 0, 0, 0, 0, message.key, value or message.value, message.headers)

    def bury(connection: Connection) -> DeadLetter:
        return keep(
            connection,
            record,
            subject=None,
            failure=failure_of(ValueError("frozen")),
            attempts=4,
            group="toy",
            now=world.clock.now(),
            new_id=lambda: f"letter-of-{branch_id}",
        )

    letter = await world.database.write(bury)
    return await ConfirmProspects(world.database, world.coordinator).of(letter)


async def test_what_is_settled_here_is_known_without_asking(world: World) -> None:
    await world.tried("branch-1", "tx-1")
    await world.confirmed("branch-1", "tx-1")
    await world.tried("branch-2", "tx-2")
    await world.cancelled("branch-2", "tx-2")
    assert await prospect(world) is Prospect.APPLIED
    assert await prospect(world, "branch-2", "tx-2") is Prospect.CANCELLED
    assert world.coordinator.asked == []


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        ("confirm", Prospect.DECIDED),
        ("cancel", Prospect.CANCELLED),
        ("wait", Prospect.UNDECIDED),
    ],
)
async def test_what_is_held_here_the_coordinator_decides(
    toy: World, decision: str, expected: Prospect
) -> None:
    await toy.try_()
    toy.coordinator.answers = [Decision.model_validate({"decision": decision})] * 2
    assert await prospect(toy) is expected
    assert await prospect(toy, "never-tried", "tx-9") is expected
    assert toy.coordinator.asked == [("tx-1", "branch-1"), ("tx-9", "never-tried")]


async def test_a_confirm_that_names_no_transaction_is_asked_about_by_its_reservation_s(toy: World) -> None:
    await toy.try_()
    toy.coordinator.answers = [Decision(decision="confirm")]
    assert await prospect(toy, transaction_id=None) is Prospect.DECIDED
    assert toy.coordinator.asked == [("tx-1", "branch-1")]


async def test_nobody_guesses_while_the_coordinator_is_away(toy: World) -> None:
    await toy.try_()
    toy.coordinator.answers = [Unreachable("away")]
    with pytest.raises(Unreachable):
        await prospect(toy)


async def test_a_standalone_confirm_is_looked_up_here(standalone: World) -> None:
    branch_id = (await standalone.standalone()).json()["id"]
    assert await prospect(standalone, branch_id, None) is Prospect.UNDECIDED
    await standalone.client.put(f"{standalone.path}/{branch_id}")
    expected = (Prospect.DECIDED, Prospect.APPLIED)
    assert await prospect(standalone, branch_id, None) in expected
    assert await prospect(standalone, "nobody-s", None) is Prospect.UNBOUND
    assert standalone.coordinator.asked == []


async def test_what_can_not_be_read_confirms_nothing(toy: World) -> None:
    assert await prospect(toy, value=b"\xff") is Prospect.UNBOUND
    assert toy.coordinator.asked == []
