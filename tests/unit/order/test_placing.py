"""Placing an order: what the customer is told, and what stands in the database, whatever gets lost."""

import asyncio
from dataclasses import replace

import pytest

from order_service.domain import Status
from order_service.front_door import refusal_of_order
from shared.errors import Refused
from shared.http.caller import Reply
from shared.idempotency import Intent
from tests.unit.order.conftest import GRACE, PATIENCE, World, draft, eventually
from tests.unit.order.coordinator import declared_problem, declined
from tests.unit.order.test_orders import row


def intent(key: str, body: str = "b") -> Intent:
    return Intent("orders", key, body)


async def test_an_order_is_written_down_before_the_coordinator_is_asked(world: World) -> None:
    seen: list[Status] = []

    def look(transaction_id: str, _confirm: bool, _reason: str | None) -> None:
        rows = world.database.write_now(
            lambda connection: connection.exec_driver_sql(
                "SELECT status, transaction_id FROM orders"
            ).fetchall()
        )
        assert [tuple(row) for row in rows] == [("PENDING", transaction_id)]
        seen.append(Status(rows[0][0]))

    world.coordinator.on_decision = look
    await world.front_door.place(draft())
    assert seen == [Status.PENDING]


async def test_an_order_is_held_by_its_own_service_in_the_commit_that_writes_it_down(world: World) -> None:
    world.coordinator.away = True
    for _ in range(2):
        placed = await world.front_door.place(draft(), order_id="o-1")
    rows = world.database.write_now(
        lambda connection: connection.exec_driver_sql(
            "SELECT id, transaction_id, state FROM reservation"
        ).fetchall()
    )
    own = placed.order.transaction_id
    assert [tuple(row) for row in rows] == [(f"{own}-order", own, "TRIED")]


async def test_an_accepted_order_is_confirming_durably(world: World) -> None:
    placed = await world.front_door.place(draft(), order_id="o-1")
    assert (placed.fresh, placed.order.status, placed.refusal) == (True, Status.CONFIRMING, None)
    assert await world.order("o-1") == placed.order


async def test_an_order_without_an_id_gets_one_of_its_own(world: World) -> None:
    one, two = [await world.front_door.place(draft()) for _ in range(2)]
    assert one.order.order_id != two.order.order_id
    assert one.order.transaction_id != two.order.transaction_id


async def test_the_transaction_has_the_branches_of_the_contract(world: World) -> None:
    order = (await world.front_door.place(draft(amount=0, qty=3), order_id="o-1")).order
    [request] = world.coordinator.requests
    assert request.document == {
        "transactionId": order.transaction_id,
        "initiator": "order",
        "branches": [
            {
                "participant": "order",
                "claim": {"orderId": "o-1"},
                "key": "o-1",
                "branchId": f"{order.transaction_id}-order",
            },
            {
                "participant": "stock",
                "claim": {
                    "items": [{"productId": "2", "qty": 3}],
                    "customerId": "guest",
                    "orderId": "o-1",
                },
                "key": "2",
            },
            {
                "participant": "payment",
                "claim": {"customerId": "guest", "orderId": "o-1", "paymentAmt": 0},
                "key": "guest",
            },
        ],
    }


async def test_a_hold_has_no_payment_yet_and_is_decided_by_hand(world: World) -> None:
    await world.front_door.place(draft(hold=90), order_id="o-1")
    [request] = world.coordinator.requests
    assert (request.document["mode"], request.document["timeoutSeconds"]) == ("manual", 90)
    assert [branch["participant"] for branch in request.document["branches"]] == ["order", "stock"]


async def test_a_hold_is_held_until_the_coordinators_deadline(world: World) -> None:
    placed = await world.front_door.place(draft(hold=90), order_id="o-1")
    order = await world.order("o-1")
    assert placed.order == order
    assert order.status is Status.HELD
    assert order.expires_at == world.coordinator.transactions[order.transaction_id].deadline
    assert order.due_at == order.expires_at + GRACE


@pytest.mark.parametrize(
    ("participant", "slug", "status"),
    [
        ("stock", "insufficient-stock", 409),
        ("stock", "purchase-limit-reached", 409),
        ("stock", "product-frozen", 409),
        ("stock", "unknown-product", 422),
        ("payment", "payment-declined", 402),
    ],
)
async def test_a_refusal_passes_through_and_is_kept(
    world: World, participant: str, slug: str, status: int
) -> None:
    world.coordinator.refusals[participant] = declined(slug, status)
    placed = await world.front_door.place(draft(), order_id="o-1")
    assert placed.refusal is not None
    error = placed.refusal.error("o-1")
    assert (error.slug, error.status, error.detail) == (slug, status, f"The participant says {slug}.")
    order = await world.order("o-1")
    assert (order.status, order.reason) == (Status.CANCELLING, slug)
    world.cancel(order, slug)
    again = await world.front_door.place(draft(), order_id="o-1")
    assert again.order.status is Status.CANCELLED
    assert again.refusal == placed.refusal
    assert not again.fresh
    assert len(world.coordinator.requests) == 1


async def test_a_refusal_that_came_by_way_of_the_participant_learns_its_words(world: World) -> None:
    world.settles = True
    world.coordinator.refusals["stock"] = declined("insufficient-stock", 409)
    placed = await world.front_door.place(draft(), order_id="o-1")
    order = await world.order("o-1")
    assert (order.status, order.reason, order.due_at) == (Status.CANCELLED, "insufficient-stock", None)
    assert placed.refusal == order.refusal
    assert placed.refusal is not None
    assert placed.refusal.detail == "The participant says insufficient-stock."


async def test_a_refusal_whose_words_were_lost_is_still_that_refusal(world: World) -> None:
    world.coordinator.away = True
    order = (await world.front_door.place(draft(), order_id="o-1")).order
    world.cancel(order, "payment-declined")
    again = await world.front_door.place(draft(), order_id="o-1")
    assert again.refusal is not None
    assert (again.refusal.slug, again.refusal.status) == ("payment-declined", 402)


async def test_an_order_that_ran_out_of_time_is_cancelled_for_good(world: World) -> None:
    world.coordinator.answer_with = Reply(
        409, {}, b'{"type":"urn:handfast:problem:transaction-expired","status":409,"detail":"Too slow."}'
    )
    placed = await world.front_door.place(draft(), order_id="o-1")
    assert placed.refusal is not None
    assert (placed.refusal.slug, placed.refusal.status) == ("order-cancelled", 409)
    assert (await world.order("o-1")).reason == "transaction-expired"


class TestRepeats:
    """A duplicate order id."""

    async def test_an_equal_body_joins(self, world: World) -> None:
        first = await world.front_door.place(draft(), order_id="o-1")
        again = await world.front_door.place(draft(), order_id="o-1")
        assert (again.fresh, again.order) == (False, first.order)
        world.confirm(first.order)
        assert (await world.front_door.place(draft(), order_id="o-1")).order.status is Status.CONFIRMED

    async def test_another_body_is_refused(self, world: World) -> None:
        await world.front_door.place(draft(), order_id="o-1")
        for other in (draft(amount=2), draft(qty=2), draft(customer="x"), draft(hold=60)):
            with pytest.raises(Refused) as raised:
                await world.front_door.place(other, order_id="o-1")
            assert (raised.value.slug, raised.value.status) == ("order-id-reused", 422)
        assert len(world.coordinator.transactions) == 1

    async def test_twenty_at_once_are_one_order(self, world: World) -> None:
        placed = await asyncio.gather(*(world.front_door.place(draft(), order_id="o-1") for _ in range(20)))
        assert sum(one.fresh for one in placed) == 1
        assert {one.order.transaction_id for one in placed} == {placed[0].order.transaction_id}
        assert {one.order.status for one in placed} == {Status.CONFIRMING}
        assert len(world.coordinator.transactions) == 1

    async def test_a_repeat_takes_up_an_order_that_nobody_drives(self, world: World) -> None:
        world.coordinator.away = True
        assert (await world.front_door.place(draft(), order_id="o-1")).order.status is Status.PENDING
        world.coordinator.away = False
        again = await world.front_door.place(draft(), order_id="o-1")
        assert (again.fresh, again.order.status) == (False, Status.CONFIRMING)

    async def test_a_repeat_of_an_undecided_order_is_undecided(self, world: World) -> None:
        world.coordinator.away = True
        for _ in range(2):
            placed = await world.front_door.place(draft(), order_id="o-1")
            assert (placed.order.status, placed.refusal) == (Status.PENDING, None)

    async def test_a_hold_that_was_given_up_is_shown_as_it_is(self, world: World) -> None:
        order = (await world.front_door.place(draft(hold=60), order_id="o-1")).order
        world.cancel(order, "transaction-expired")
        again = await world.front_door.place(draft(hold=60), order_id="o-1")
        assert (again.order.status, again.refusal) == (Status.CANCELLED, None)
        assert again.order.reason == "reservation-expired"


class TestKeys:
    """An idempotency key."""

    async def test_a_key_stands_for_its_order(self, world: World) -> None:
        first = await world.front_door.place(draft(), intent=intent("k"))
        again = await world.front_door.place(draft(), intent=intent("k"))
        assert (first.fresh, again.fresh) == (True, False)
        assert again.order == first.order

    async def test_a_key_with_another_body_is_refused(self, world: World) -> None:
        await world.front_door.place(draft(), intent=intent("k"))
        with pytest.raises(Refused) as raised:
            await world.front_door.place(draft(amount=2), intent=intent("k", "other"))
        assert (raised.value.slug, raised.value.status) == ("idempotency-key-reused", 422)
        assert len(world.coordinator.transactions) == 1

    async def test_twenty_at_once_under_one_key_are_one_order(self, world: World) -> None:
        placed = await asyncio.gather(
            *(world.front_door.place(draft(), intent=intent("k")) for _ in range(20))
        )
        assert len({one.order.order_id for one in placed}) == 1
        assert sum(one.fresh for one in placed) == 1

    async def test_a_refused_order_is_refused_again_under_its_key(self, world: World) -> None:
        world.coordinator.refusals["stock"] = declined("insufficient-stock", 409)
        first = await world.front_door.place(draft(), intent=intent("k"))
        world.coordinator.refusals.clear()
        again = await world.front_door.place(draft(), intent=intent("k"))
        assert again.refusal == first.refusal
        assert again.refusal is not None

    async def test_an_undecided_order_is_not_remembered_as_undecided(self, world: World) -> None:
        world.coordinator.away = True
        await world.front_door.place(draft(), intent=intent("k"))
        world.coordinator.away = False
        again = await world.front_door.place(draft(), intent=intent("k"))
        assert again.order.status is Status.CONFIRMING

    async def test_a_reused_order_id_is_refused_under_any_key_and_again(self, world: World) -> None:
        await world.front_door.place(draft(), order_id="o-1")
        for _ in range(2):
            with pytest.raises(Refused) as raised:
                await world.front_door.place(draft(amount=2), order_id="o-1", intent=intent("k"))
            assert raised.value.slug == "order-id-reused"

    async def test_two_keys_may_stand_for_one_order(self, world: World) -> None:
        placed = [await world.front_door.place(draft(), order_id="o-1", intent=intent(key)) for key in "aab"]
        assert [one.fresh for one in placed] == [True, False, False]


class TestUncertainty:
    """Answers that are lost, late or strange."""

    async def test_a_lost_answer_is_asked_for_again(self, world: World) -> None:
        world.coordinator.lose = 2
        placed = await world.front_door.place(draft(), order_id="o-1")
        assert placed.order.status is Status.CONFIRMING
        assert len(world.coordinator.requests) == 3
        assert len(world.coordinator.transactions) == 1

    async def test_a_lost_refusal_is_the_same_refusal(self, world: World) -> None:
        world.coordinator.lose = 1
        world.coordinator.refusals["stock"] = declined("insufficient-stock", 409)
        placed = await world.front_door.place(draft(), order_id="o-1")
        assert placed.refusal is not None
        assert placed.refusal.slug == "insufficient-stock"

    async def test_an_undecided_answer_is_asked_for_again(self, world: World) -> None:
        world.coordinator.undecided = 2
        assert (await world.front_door.place(draft())).order.status is Status.CONFIRMING

    async def test_a_coordinator_out_of_reach_leaves_the_order_pending(self, world: World) -> None:
        world.coordinator.away = True
        loop = asyncio.get_running_loop()
        began = loop.time()
        placed = await world.front_door.place(draft(), order_id="o-1")
        assert loop.time() - began < PATIENCE + 0.3
        assert (placed.fresh, placed.order.status, placed.refusal) == (True, Status.PENDING, None)
        assert (await world.order("o-1")).due_at == world.clock.now() + int(PATIENCE * 1_000) + GRACE

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(200, {}, b"garbage"),
            Reply(201, {}, b"[]"),
            Reply(201, {}, b'{"state": 7}'),
            Reply(201, {}, b'{"state": "CONFIRMING", "deadline": "yesterday"}'),
            Reply(409, {}, b""),
            Reply(500),
            Reply(503),
            Reply(429),
            Reply(422, {}, b'{"type": "urn:handfast:problem:transaction-id-reused"}'),
            Reply(404),
            Reply(201, {}, b'{"state": "TRYING"}'),
            Reply(201, {}, b'{"state": "TRIED"}'),
        ],
    )
    async def test_a_strange_answer_decides_nothing(self, world: World, reply: Reply) -> None:
        world.coordinator.answer_with = reply
        assert (await world.front_door.place(draft(), order_id="o-1")).order.status is Status.PENDING

    async def test_the_participant_may_be_faster_than_the_answer(self, world: World) -> None:
        world.settles = True
        placed = await world.front_door.place(draft(), order_id="o-1")
        assert placed.order.status is Status.CONFIRMED
        assert await world.status("o-1") is Status.CONFIRMED

    async def test_what_the_participant_learned_is_told_when_patience_ends(self, world: World) -> None:
        world.coordinator.away = True

        async def confirm() -> None:
            await eventually(lambda: world.is_now("o-1", Status.PENDING))
            world.confirm(await world.order("o-1"))

        placed, _ = await asyncio.gather(world.front_door.place(draft(), order_id="o-1"), confirm())
        assert placed.order.status is Status.CONFIRMED

    async def test_a_declined_order_that_is_kept_stays_kept(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        world.coordinator.away = True
        order = (await world.front_door.place(draft(), order_id="o-1")).order
        world.confirm(order)
        after = await world.front_door._decline(order, declared_problem("transaction-cancelled", 409))
        assert after.status is Status.CONFIRMED
        assert "was declined" in caplog.text


class TestWaiting:
    """Prefer: wait."""

    async def test_waiting_ends_with_the_final_status(self, world: World) -> None:
        task = asyncio.create_task(world.front_door.place(draft(), order_id="o-1", wait=20))
        await eventually(lambda: world.is_now("o-1", Status.CONFIRMING))
        world.confirm(await world.order("o-1"))
        assert (await asyncio.wait_for(task, 5)).order.status is Status.CONFIRMED

    async def test_waiting_ends_when_the_time_is_up(self, world: World) -> None:
        placed = await asyncio.wait_for(world.front_door.place(draft(), wait=0.1), 5)
        assert placed.order.status is Status.CONFIRMING

    async def test_a_hold_is_not_waited_for(self, world: World) -> None:
        placed = await asyncio.wait_for(world.front_door.place(draft(hold=60), wait=20), 5)
        assert placed.order.status is Status.HELD


def test_only_what_was_refused_has_a_refusal() -> None:
    for status in (Status.PENDING, Status.HELD, Status.CONFIRMING, Status.CONFIRMED):
        assert refusal_of_order(row(1, status)) is None
    lost = replace(row(1, Status.CANCELLED), reason="insufficient-stock")
    refusal = refusal_of_order(lost)
    assert refusal is not None
    assert refusal.slug == "insufficient-stock"
