"""In the database an order moves along the domain's edges only, whoever comes in whichever order."""

import random
from dataclasses import replace
from functools import partial

import pytest

from order_service import orders, participant
from order_service.domain import EDGES, FINAL, Line, Refusal, Status, refusal_for
from order_service.orders import Order
from order_service.participant import OrderClaim
from shared.errors import Conflict, Refused
from tests.unit.order.conftest import World, draft

NOW = 1_780_000_000_000


def row(
    number: int, status: Status = Status.PENDING, *, hold: int | None = None, customer: str = "guest"
) -> Order:
    wish = draft(hold=hold, customer=customer)
    return Order(
        order_id=f"o-{number}",
        transaction_id=f"t-{number:04}",
        customer_id=customer,
        lines=(Line("2", 3), Line("1", 1)),
        payment_amt=2**53 - 1,
        hold_seconds=hold,
        body_hash=wish.body_hash,
        status=status,
        reason=None,
        refusal=None,
        expires_at=None if hold is None else NOW + hold * 1_000,
        attempts=0,
        due_at=None if status in FINAL else NOW + 1_000,
        created_at=NOW,
        updated_at=NOW,
    )


async def put(world: World, *rows: Order) -> None:
    for one in rows:
        assert await world.database.write(partial(orders.add, order=one)) is None


async def test_an_order_reads_back_as_it_was_written(world: World) -> None:
    refusal = Refusal("payment-declined", 402, "No.", "payment-declined", {"balance": 3})

    for one in (row(1), row(2, hold=60), replace(row(3, Status.CANCELLED), reason="x", refusal=refusal)):
        await put(world, one)
        assert await world.order(one.order_id) == one


async def test_a_taken_id_writes_nothing_and_returns_who_has_it(world: World) -> None:
    await put(world, row(1))

    second = replace(row(2), order_id="o-1", payment_amt=7)
    assert await world.database.write(lambda connection: orders.add(connection, second)) == row(1)
    found = await world.database.read(lambda connection: orders.status_by_transaction(connection, "t-0002"))
    assert found is None


@pytest.mark.parametrize("target", [status for status in Status if status is not Status.PENDING])
@pytest.mark.parametrize("status", Status)
async def test_an_order_moves_along_its_edges_only(world: World, status: Status, target: Status) -> None:
    await put(world, row(1, status))

    def move(connection: object) -> bool:
        if target is Status.HELD:
            return orders.hold(connection, "t-0001", NOW + 1, NOW + 2, NOW + 3)  # type: ignore[arg-type]
        return orders.move(connection, "t-0001", target, NOW + 1, "why")  # type: ignore[arg-type]

    moved = await world.database.write(move)
    assert moved is (target in EDGES[status])
    after = await world.order("o-1")
    assert after.status is (target if moved else status)
    assert (after.due_at is None) == (after.status in FINAL)
    if moved and target in (Status.CANCELLING, Status.CANCELLED):
        assert after.reason == "why"


async def test_moves_in_any_order_never_lead_back(world: World) -> None:
    randomness = random.Random(11)
    targets = [status for status in Status if status not in (Status.PENDING, Status.HELD)]
    for number in range(200):
        await put(world, row(number))
        seen = [Status.PENDING]
        for _ in range(6):
            target = randomness.choice(targets)
            await world.database.write(
                partial(orders.move, transaction_id=f"t-{number:04}", target=target, now=NOW)
            )
            now = await world.status(f"o-{number}")
            assert now is seen[-1] or now in EDGES[seen[-1]]
            seen.append(now)


async def test_the_first_reason_stays(world: World) -> None:
    await put(world, row(1))
    for reason in ("insufficient-stock", "cancelled"):
        target = Status.CANCELLING if reason == "insufficient-stock" else Status.CANCELLED
        moved = partial(orders.move, transaction_id="t-0001", target=target, now=NOW, reason=reason)
        assert await world.database.write(moved)
    assert (await world.order("o-1")).reason == "insufficient-stock"


@pytest.mark.parametrize(("hold", "reason"), [(60, "reservation-expired"), (None, "transaction-expired")])
async def test_a_hold_that_ran_out_has_its_own_reason(world: World, hold: int | None, reason: str) -> None:
    await put(world, row(1, hold=hold))
    await world.database.write(
        lambda connection: orders.move(connection, "t-0001", Status.CANCELLED, NOW, "transaction-expired")
    )
    assert (await world.order("o-1")).reason == reason


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.PENDING, Status.CANCELLING),
        (Status.HELD, Status.CANCELLING),
        (Status.CANCELLING, Status.CANCELLING),
        (Status.CANCELLED, Status.CANCELLED),
        (Status.CONFIRMING, None),
        (Status.CONFIRMED, None),
    ],
)
async def test_a_refusal_is_kept_once(world: World, status: Status, expected: Status | None) -> None:
    await put(world, row(1, status))
    refusal = refusal_for("insufficient-stock", "Only 3 left.")
    other = refusal_for("payment-declined", "No money.")
    kept = await world.database.write(lambda connection: orders.refuse(connection, "t-0001", refusal, NOW))
    again = await world.database.write(lambda connection: orders.refuse(connection, "t-0001", other, NOW))
    after = await world.order("o-1")
    assert (kept, again) == (expected is not None, False)
    assert after.status is (expected or status)
    assert after.refusal == (refusal if expected else None)
    assert (after.due_at is None) == (after.status in FINAL)


async def test_what_is_due_is_what_nobody_speaks_for(world: World) -> None:
    await put(
        world, row(1), row(2, Status.HELD, hold=60), row(3, Status.CONFIRMED), row(4, Status.CANCELLING)
    )
    assert await claimed(world, NOW + 999) == set()
    assert await claimed(world, NOW + 1_000) == {"o-1", "o-2", "o-4"}
    await world.database.write(lambda connection: orders.postpone(connection, [("t-0001", NOW + 9_000)]))
    assert await claimed(world, NOW + 7_000) == {"o-2", "o-4"}
    assert (await world.order("o-1")).attempts == 1


async def test_what_one_sweeper_has_taken_up_another_leaves_alone_for_a_while(world: World) -> None:
    await put(world, row(1), row(2))
    assert await claimed(world, NOW + 1_000) == {"o-1", "o-2"}
    assert await claimed(world, NOW + 5_999) == set()
    assert await claimed(world, NOW + 6_000) == {"o-1", "o-2"}, "whoever took them up was killed"


async def claimed(world: World, now: int) -> set[str]:
    """Take up what is due, for five seconds."""
    due = await world.database.write(lambda connection: orders.claim_due(connection, now, now + 5_000, 10))
    return {one.order_id for one in due}


async def test_a_final_order_is_never_due_again(world: World) -> None:
    await put(world, row(1, Status.CONFIRMED))
    await world.database.write(lambda connection: orders.postpone(connection, [("t-0001", NOW)]))
    assert (await world.order("o-1")).due_at is None


async def test_pages_are_newest_first_and_filtered(world: World) -> None:
    await put(world, *(row(n, customer="a" if n % 2 else "b") for n in range(1, 8)))
    await world.database.write(lambda connection: orders.move(connection, "t-0003", Status.CONFIRMED, NOW))

    async def page(**wanted: object) -> list[str]:
        wish = {"customer_id": None, "status": None, "after": None, "limit": 50, **wanted}
        found = await world.database.read(lambda connection: orders.page(connection, **wish))  # type: ignore[arg-type]
        return [one.order_id for one in found]

    assert await page(limit=3) == ["o-7", "o-6", "o-5"]
    assert await page(limit=3, after="t-0005") == ["o-4", "o-3", "o-2"]
    assert await page(customer_id="a") == ["o-7", "o-5", "o-3", "o-1"]
    assert await page(status=Status.CONFIRMED) == ["o-3"]
    assert await page(status=Status.PENDING, customer_id="a") == ["o-7", "o-5", "o-1"]


class TestParticipant:
    """The rules, as the kit calls them."""

    async def test_a_standalone_reservation_is_refused(self, world: World) -> None:
        for rule in (participant.draft, participant.place, participant.discard):
            with pytest.raises(Refused) as raised:
                await world.database.write(
                    partial(rule, claim=OrderClaim(order_id="o-1"), context=world.context(None))
                )
            assert raised.value.slug == "transaction-required"

    async def test_a_try_needs_its_order(self, world: World) -> None:
        await put(world, row(1))
        claim, context = OrderClaim(order_id="o-1"), world.context("t-0001")
        await world.database.write(lambda connection: participant.draft(connection, claim, context))
        for order_id, transaction_id in (("o-1", "t-0002"), ("o-2", "t-0001")):
            stranger, elsewhere = OrderClaim(order_id=order_id), world.context(transaction_id)
            with pytest.raises(Refused) as raised:
                await world.database.write(partial(participant.draft, claim=stranger, context=elsewhere))
            assert raised.value.status == 422

    async def test_a_confirm_may_overtake_the_front_door(self, world: World) -> None:
        await put(world, row(1))
        one = await world.order("o-1")
        world.confirm(one)
        assert (await world.progress.kept(one)).status is Status.CONFIRMED
        assert await world.status("o-1") is Status.CONFIRMED

    async def test_a_repeated_confirm_changes_nothing(self, world: World) -> None:
        await put(world, row(1, Status.CONFIRMED))
        before = await world.order("o-1")
        world.clock.pass_seconds(5)
        world.confirm(before)
        assert await world.order("o-1") == before

    async def test_a_cancel_of_a_kept_order_is_a_conflict(self, world: World) -> None:
        await put(world, row(1, Status.CONFIRMING))
        with pytest.raises(Conflict):
            world.cancel(await world.order("o-1"))

    async def test_a_confirm_of_an_order_that_was_let_go_is_a_conflict(self, world: World) -> None:
        await put(world, row(1, Status.CANCELLED))
        with pytest.raises(Conflict):
            world.confirm(await world.order("o-1"))

    async def test_a_cancel_before_its_try_cancels_the_order_with_its_reason(self, world: World) -> None:
        await put(world, row(1))
        context = world.context("t-0001", "unknown-product")
        await world.database.write(lambda connection: participant.discard_untried(connection, context))
        after = await world.order("o-1")
        assert (after.status, after.reason) == (Status.CANCELLED, "unknown-product")

    async def test_a_tombstone_for_a_stranger_changes_nothing(self, world: World) -> None:
        context = world.context("t-9999", "x")
        await world.database.write(lambda connection: participant.discard_untried(connection, context))
