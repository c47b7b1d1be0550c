"""A reservation without a transaction: its owner confirms and cancels it, and it expires by itself."""

import asyncio

import pydantic_core
import pytest

from shared.clock import iso
from shared.messaging.broker import Record
from shared.messaging.retry import Retry
from shared.tcc.confirmations import confirmation_listener
from shared.tcc.protocol import State
from tests.contract.world import World


async def test_it_lasts_ten_minutes_unless_told(standalone: World) -> None:
    answer = await standalone.standalone()

    assert answer.status_code == 201
    body = answer.json()
    assert body["uri"] == answer.headers["location"] == f"http://here.test{standalone.path}/{body['id']}"
    assert body["expires"] == iso(standalone.clock.now() + 600_000)
    assert "transactionId" not in body
    assert await standalone.ledger() == (1, 0)
    assert (await standalone.show(body["id"])) == body


async def test_seconds_say_how_long_it_lasts(standalone: World) -> None:
    answer = await standalone.standalone(seconds=30)

    assert answer.json()["expires"] == iso(standalone.clock.now() + 30_000)
    assert "seconds" not in answer.json()


@pytest.mark.parametrize("seconds", [0, -1, 86_401, "30", 1.5, True])
async def test_absurd_seconds_are_refused(standalone: World, seconds: object) -> None:
    answer = await standalone.standalone(seconds=seconds)

    assert answer.status_code == 422
    assert await standalone.ledger() == (0, 0)


async def test_seconds_are_not_for_transactions(standalone: World) -> None:
    claim = {**standalone.case.claim("tx-1"), "seconds": 30}
    answer = await standalone.try_(claim=claim)

    assert answer.status_code == 422
    assert await standalone.state() is State.ABSENT


async def test_refused_one_leaves_no_trace(standalone: World) -> None:
    answer = await standalone.client.post(standalone.path, json=standalone.case.refused_claim("tx-1"))

    assert 400 <= answer.status_code < 500
    assert await standalone.ledger() == (0, 0)
    assert (await standalone.client.get(standalone.path)).json() == {"items": [], "nextCursor": None}


async def test_put_decides_the_confirm_and_its_message_in_one_commit(standalone: World) -> None:
    uri = (await standalone.standalone()).json()["uri"]
    answer = await standalone.client.put(uri)

    assert answer.status_code == 202
    assert answer.json()["state"] == "CONFIRMING"
    assert await standalone.ledger() == (1, 0)
    [message] = await standalone.outgoing()
    assert message.topic == standalone.case.participant.topic
    assert message.value is not None
    assert pydantic_core.from_json(message.value) == {
        "reservationId": answer.json()["id"],
        "decision": "confirm",
        "decidedAt": iso(standalone.clock.now()),
    }


async def test_repeated_put_sends_nothing_more(standalone: World) -> None:
    uri = (await standalone.standalone()).json()["uri"]
    answers = await asyncio.gather(*(standalone.client.put(uri) for _ in range(20)))

    assert {answer.status_code for answer in answers} == {202}
    assert len(await standalone.outgoing()) == 1


async def test_its_message_applies_it_and_no_outcome_is_sent(standalone: World) -> None:
    uri = (await standalone.standalone()).json()["uri"]
    await standalone.client.put(uri)
    await deliver(standalone)

    assert (await standalone.client.put(uri)).status_code == 204
    assert (await standalone.client.get(uri)).json()["state"] == "CONFIRMED"
    assert await standalone.ledger() == (0, 1)
    assert len(await standalone.outgoing()) == 1, "a standalone reservation has nobody to tell"


async def test_prefer_wait_waits_until_it_is_applied(standalone: World) -> None:
    uri = (await standalone.standalone()).json()["uri"]
    waiting = asyncio.create_task(standalone.client.put(uri, headers={"Prefer": "wait=20"}))
    await standalone.until(standalone.outgoing)
    await deliver(standalone)

    assert (await asyncio.wait_for(waiting, 10)).status_code == 204


async def test_prefer_wait_ends_with_202_when_it_takes_longer(standalone: World) -> None:
    uri = (await standalone.standalone()).json()["uri"]
    answer = await asyncio.wait_for(standalone.client.put(uri, headers={"Prefer": "wait=1"}), 10)

    assert answer.status_code == 202


async def test_delete_lets_it_go_and_again(standalone: World) -> None:
    uri = (await standalone.standalone()).json()["uri"]

    assert (await standalone.client.delete(uri)).status_code == 204
    assert (await standalone.client.delete(uri)).status_code == 204
    assert await standalone.ledger() == (0, 0)
    assert (await standalone.client.get(uri)).json()["reason"] == "cancelled"


async def test_delete_once_it_confirms_is_refused_without_an_alarm(standalone: World) -> None:
    uri = (await standalone.standalone()).json()["uri"]
    await standalone.client.put(uri)
    confirming = await standalone.client.delete(uri)
    await deliver(standalone)
    confirmed = await standalone.client.delete(uri)

    assert confirming.status_code == confirmed.status_code == 409
    assert confirming.json()["type"].endswith(":reservation-confirming")
    assert confirmed.json()["type"].endswith(":reservation-confirmed")
    assert await standalone.ledger() == (0, 1)
    assert standalone.conflicts() == 0


async def test_put_once_it_expired_is_gone(standalone: World) -> None:
    uri = (await standalone.standalone(seconds=30)).json()["uri"]
    standalone.clock.advance(30_000)
    answer = await standalone.client.put(uri)

    assert answer.status_code == 410
    assert answer.json()["type"] == "urn:handfast:problem:reservation-expired"
    assert await standalone.outgoing() == []


async def test_put_once_it_is_cancelled_is_gone(standalone: World) -> None:
    uri = (await standalone.standalone()).json()["uri"]
    await standalone.client.delete(uri)
    answer = await standalone.client.put(uri)

    assert answer.status_code == 410
    assert answer.json()["type"] == "urn:handfast:problem:reservation-cancelled"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_unknown_one_is_not_found(standalone: World, method: str) -> None:
    answer = await standalone.client.request(method, f"{standalone.path}/unheard-of")

    assert answer.status_code == 404
    assert await standalone.state("unheard-of") is State.ABSENT


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_no_transaction_decides_about_it(standalone: World, method: str) -> None:
    uri = (await standalone.standalone()).json()["uri"]
    answer = await standalone.client.request(method, uri, headers={"TCC-Transaction-Id": "tx-1"})

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:handfast:problem:branch-id-reused"
    assert await standalone.ledger() == (1, 0)


async def test_puts_and_deletes_together_end_in_one_decision(standalone: World) -> None:
    uri = (await standalone.standalone()).json()["uri"]
    methods = ["PUT" if number % 2 else "DELETE" for number in range(20)]
    await asyncio.gather(*(standalone.client.request(method, uri) for method in methods))
    await deliver(standalone)

    state = (await standalone.client.get(uri)).json()["state"]
    assert await standalone.ledger() == {"CONFIRMED": (0, 1), "CANCELLED": (0, 0)}[state]


async def deliver(world: World) -> list[Exception | None]:
    """Hand everything that waits for this participant to its Kafka door."""
    listener = confirmation_listener(world.host, Retry.parse("fixed:1s,3"))
    records = [
        Record(message.topic, 0, offset, 0, 0, message.key, message.value, message.headers)
        for offset, message in enumerate(await world.outgoing())
        if message.topic == listener.topic
    ]
    return list(await listener.handle(records))
