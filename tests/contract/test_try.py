"""Try: what is claimed is held once, and only once, until its deadline."""

import asyncio

from shared.clock import from_iso, iso
from shared.tcc.protocol import Phase, State
from tests.contract.world import SKEW_ALLOWANCE_MS, World


async def test_try_holds_what_is_claimed(world: World) -> None:
    deadline = world.clock.now() + 600_000
    answer = await world.tried(deadline=deadline)

    assert answer.status_code == 201
    body = answer.json()
    assert body["id"] == "branch-1"
    assert body["uri"] == f"http://here.test{world.path}/branch-1"
    assert answer.headers["location"] == body["uri"]
    assert body["expires"] == iso(deadline)
    assert body["state"] == "TRIED"
    assert body["transactionId"] == "tx-1"
    assert (await world.ledger()).held in (1, None)
    assert (await world.ledger()).kept == 0


async def test_repeated_try_answers_as_before_and_holds_nothing_more(world: World) -> None:
    first = await world.tried()
    again = await world.tried()

    assert again.status_code == 201
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert (await world.ledger()).held in (1, None)


async def test_repeated_try_keeps_the_first_deadline(world: World) -> None:
    first = await world.tried()
    again = await world.tried(deadline=from_iso(first.json()["expires"]) + 60_000)

    assert again.json()["expires"] == first.json()["expires"]


async def test_try_after_confirm_answers_201_and_holds_nothing(world: World) -> None:
    await world.tried()
    await world.confirmed()
    again = await world.tried()

    assert again.status_code == 201
    assert again.json()["state"] == "CONFIRMED"
    assert await world.ledger() in ((0, 1), (None, 1))


async def test_refused_try_holds_nothing_and_is_refused_alike_again(world: World) -> None:
    claim = world.case.refused_claim("tx-1")
    before = await world.ledger()
    first = await world.tried(claim=claim)
    again = await world.tried(claim=claim)

    assert 400 <= first.status_code < 500
    assert first.headers["content-type"] == "application/problem+json"
    assert again.status_code == first.status_code
    assert again.json() == first.json()
    assert await world.ledger() == before
    assert await world.state() is State.CANCELLED


async def test_refused_try_is_cancelled_silently(world: World) -> None:
    await world.tried(claim=world.case.refused_claim("tx-1"))
    before = await world.ledger()

    assert (await world.cancelled()).status_code == 204
    assert await world.ledger() == before


async def test_same_branch_with_another_body_is_refused(world: World) -> None:
    await world.tried()
    answer = await world.tried(claim=world.case.other_claim("tx-1"))

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:handfast:problem:branch-id-reused"
    assert (await world.ledger()).held in (1, None)


async def test_same_branch_of_another_transaction_is_refused(world: World) -> None:
    await world.tried()
    answer = await world.tried("branch-1", "tx-2")

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:handfast:problem:branch-id-reused"
    assert (await world.show())["transactionId"] == "tx-1"
    assert world.conflicts() == 1


async def test_try_within_the_skew_allowance_is_held(world: World) -> None:
    answer = await world.tried(deadline=world.clock.now() - SKEW_ALLOWANCE_MS + 25_000)

    assert answer.status_code == 201


async def test_try_past_its_deadline_is_refused(world: World) -> None:
    answer = await world.tried(deadline=world.clock.now() - SKEW_ALLOWANCE_MS - 1)

    assert answer.status_code == 410
    assert answer.json()["type"] == "urn:handfast:problem:reservation-expired"
    assert await world.state() is State.CANCELLED
    assert (await world.ledger()).held in (0, None)


async def test_a_try_that_was_late_stays_refused_when_the_clock_is_set_back(
    world: World,
) -> None:
    """Who was refused is sent no Cancel: a copy of the Try that comes later must not be held."""
    deadline = world.clock.now() + 10_000
    world.clock.advance(600_000)
    first = await world.tried(deadline=deadline)
    world.clock.advance(-600_000)
    again = await world.tried(deadline=deadline)

    assert first.status_code == 410
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert await world.state() is State.CANCELLED
    assert (await world.ledger()).held in (0, None)


async def test_repeat_past_the_deadline_answers_as_before(world: World) -> None:
    first = await world.tried()
    world.clock.advance(600_000 + SKEW_ALLOWANCE_MS + 1)
    again = await world.try_(deadline=from_iso(first.json()["expires"]))

    assert again.status_code == 201
    assert again.json() == first.json()


async def test_twenty_tries_of_one_branch_hold_once(world: World) -> None:
    answers = await asyncio.gather(*(world.try_() for _ in range(20)))
    final = await world.tried()

    assert {answer.status_code for answer in answers} <= {201, 425, 503}
    assert final.status_code == 201
    assert all(answer.json() == final.json() for answer in answers if answer.status_code == 201)
    assert (await world.ledger()).held in (1, None)


async def test_try_whose_answer_was_lost_is_repeated(world: World) -> None:
    call = asyncio.create_task(world.tried())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait((call,))
    world.clock.advance(20_000)
    again = await world.tried()

    assert again.status_code == 201
    assert (await world.ledger()).held in (1, None)


async def test_handle_and_http_are_one_entry(toy: World) -> None:
    held = await toy.host.handle(toy.command(Phase.TRY))
    over_http = await toy.try_()

    assert over_http.status_code == 201
    assert over_http.json()["id"] == held.fence.id
    assert await toy.ledger() == (1, 0)
