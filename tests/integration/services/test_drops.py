"""Drops over HTTP and Kafka: claimed, issued, refused, returned and issued again."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import pydantic_core
from sqlalchemy import Connection

from shared.clock import iso
from shared.database.place import Schema
from shared.database.sqlite import sqlite_engine
from shared.messaging.broker import Message, Unpublishable
from shared.migrations.postgres import in_one_transaction
from shared.settings import database_place
from stock_service.drops.messages import TOPIC
from stock_service.settings import StockSettings
from tests.integration.services.conftest import Machine, Service, slug

DROP = "/api/v1/drops/launch"
WHAT_IS_POISON = "NEW.state = 'ISSUED' AND NEW.customer_id LIKE 'poison%'"
POISON = {
    "sqlite": (
        f"CREATE TRIGGER poison BEFORE UPDATE ON drop_claim WHEN {WHAT_IS_POISON} "
        "BEGIN SELECT RAISE(ABORT, 'this claim is poison'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RAISE EXCEPTION ''this claim is poison''; END'",
        f"CREATE TRIGGER poison BEFORE UPDATE ON drop_claim FOR EACH ROW WHEN ({WHAT_IS_POISON}) "
        "EXECUTE FUNCTION poison()",
    ),
}
ANTIDOTE = {
    "sqlite": ("DROP TRIGGER poison",),
    "postgresql": ("DROP TRIGGER poison ON drop_claim", "DROP FUNCTION poison"),
}


async def offer(stock: Service, quantity: int, **terms: Any) -> httpx.Response:
    return await stock.client.put(DROP, json={"quantity": quantity, **terms})


async def claim(stock: Service, customer: str, **headers: str) -> httpx.Response:
    return await stock.client.post(f"{DROP}/claims", json={"customerId": customer}, headers=headers)


async def counts(stock: Service) -> tuple[int, int, int]:
    """Return what is issued, pending and remaining."""
    drop = await stock.json(DROP)
    assert drop["issued"] + drop["pending"] + drop["remaining"] == drop["quantity"]
    return drop["issued"], drop["pending"], drop["remaining"]


async def until_counts(stock: Service, *expected: int) -> None:
    async def look() -> bool:
        return await counts(stock) == expected

    await stock.until(look)


async def in_database(machine: Machine, statements: Mapping[str, Sequence[str]]) -> None:
    """Run statements in the stock service's database, from outside. statements: by dialect."""

    def work(connection: Connection) -> None:
        for statement in statements[connection.dialect.name]:
            connection.exec_driver_sql(statement)

    place = database_place(StockSettings(data_dir=machine.disk, **machine.database), "stock")
    if isinstance(place, Schema):
        await asyncio.to_thread(in_one_transaction, place, work)
        return
    engine = sqlite_engine(place)
    with engine.connect() as connection:
        work(connection)
    engine.dispose()


async def test_a_claim_is_pending_at_once_and_issued_soon(stock: Service) -> None:
    assert (await offer(stock, 2)).status_code == 201
    pending = await claim(stock, "ann")
    assert pending.status_code == 202
    assert pending.headers["location"] == f"{DROP}/claims/ann"
    assert pending.json()["state"] == "PENDING"
    await until_counts(stock, 1, 0, 1)
    issued = await stock.json(pending.headers["location"])
    assert issued == pending.json() | {"state": "ISSUED", "updatedAt": issued["updatedAt"]}


async def test_a_customer_who_would_wait_is_told_that_it_is_issued(stock: Service) -> None:
    await offer(stock, 2)
    issued = await claim(stock, "ann", prefer="wait=10")
    assert (issued.status_code, issued.json()["state"]) == (200, "ISSUED")


async def test_each_refusal_has_its_problem(stock: Service) -> None:
    assert slug(await claim(stock, "ann")) == "unknown-drop"
    await offer(stock, 1)
    await claim(stock, "ann")
    assert slug(again := await claim(stock, "ann")) == "already-claimed"
    assert again.status_code == 409
    assert slug(late := await claim(stock, "bob")) == "sold-out"
    assert late.status_code == 409
    assert slug(await stock.client.get(f"{DROP}/claims/bob")) == "unknown-claim"


async def test_a_drop_opens_and_closes_by_the_clock(stock: Service) -> None:
    now = stock.clock.now()
    await offer(stock, 5, opensAt=iso(now + 60_000), closesAt=iso(now + 120_000))
    assert slug(early := await claim(stock, "ann")) == "not-open"
    assert (early.status_code, early.json()["opensAt"]) == (403, iso(now + 60_000))
    stock.clock.shift = 60_000
    assert (await claim(stock, "ann")).status_code == 202
    stock.clock.shift = 120_000
    assert slug(await claim(stock, "bob")) == "not-open"
    await offer(stock, 5, closesAt=None)
    assert (await claim(stock, "bob")).status_code == 202


async def test_terms_never_fall_below_what_is_claimed(stock: Service) -> None:
    await offer(stock, 3, perCustomer=2)
    for customer in ("ann", "ann", "bob"):
        assert (await claim(stock, customer)).status_code == 202
    assert slug(await offer(stock, 2)) == "below-claimed"
    assert slug(await offer(stock, 3, perCustomer=1)) == "below-claimed"
    assert slug(await offer(stock, 3, opensAt=iso(2), closesAt=iso(1))) == "invalid-request"
    changed = await offer(stock, 4)
    assert (changed.status_code, changed.json()["perCustomer"]) == (200, 2)
    assert (await claim(stock, "bob")).status_code == 202
    assert slug(await claim(stock, "eve")) == "sold-out"


async def test_more_may_be_allowed_for_each_customer(stock: Service) -> None:
    await offer(stock, 10, perCustomer=3)
    answers = [await claim(stock, "ann") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 409]
    listed = await stock.json(f"{DROP}/claims?customerId=ann")
    assert [one["claimId"] for one in listed["items"]] == [one.json()["claimId"] for one in answers[:3]]


async def test_a_repeat_with_its_key_is_the_same_claim(stock: Service) -> None:
    await offer(stock, 1)
    first = await claim(stock, "ann", **{"idempotency-key": "k"})
    again = await claim(stock, "ann", **{"idempotency-key": "k"})
    assert again.json()["claimId"] == first.json()["claimId"]
    await until_counts(stock, 1, 0, 0)
    later = await claim(stock, "ann", **{"idempotency-key": "k"})
    assert (later.status_code, later.json()["state"]) == (200, "ISSUED")
    assert slug(await claim(stock, "bob", **{"idempotency-key": "k"})) == "idempotency-key-reused"


async def test_a_refusal_with_its_key_stays_the_same(stock: Service) -> None:
    await offer(stock, 0)
    assert slug(await claim(stock, "ann", **{"idempotency-key": "k"})) == "sold-out"
    await offer(stock, 1)
    assert slug(await claim(stock, "ann", **{"idempotency-key": "k"})) == "sold-out"
    assert (await claim(stock, "ann")).status_code == 202


async def test_twenty_repeats_at_once_are_one_claim(stock: Service) -> None:
    await offer(stock, 10, perCustomer=10)
    answers = await asyncio.gather(*(claim(stock, "ann", **{"idempotency-key": "k"}) for _ in range(20)))
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert len({answer.json()["claimId"] for answer in answers}) == 1
    assert sum((await counts(stock))[:2]) == 1


async def test_a_crowd_gets_what_there_is_and_no_customer_gets_two(stock: Service) -> None:
    await offer(stock, 50)
    crowd = [f"c{number % 120}" for number in range(240)]
    answers = await asyncio.gather(*(claim(stock, customer) for customer in crowd))
    told = Counter(str(one.status_code) if one.status_code == 202 else slug(one) for one in answers)
    assert told["202"] == 50
    assert told.keys() <= {"202", "sold-out", "already-claimed"}
    await until_counts(stock, 50, 0, 0)
    issued = (await stock.json(f"{DROP}/claims?state=ISSUED&limit=500"))["items"]
    assert len({one["customerId"] for one in issued}) == 50
    accepted = {one.json()["claimId"] for one in answers if one.status_code == 202}
    assert {one["claimId"] for one in issued} == accepted


async def test_claims_are_listed_page_by_page(stock: Service) -> None:
    await offer(stock, 5)
    for number in range(5):
        await claim(stock, f"c{number}")
    first = await stock.json(f"{DROP}/claims?limit=3")
    rest = await stock.json(f"{DROP}/claims?limit=3&cursor={first['nextCursor']}")
    assert [one["customerId"] for one in first["items"] + rest["items"]] == [f"c{n}" for n in range(5)]
    assert rest["nextCursor"] is None
    assert [one["code"] for one in (await stock.json("/api/v1/drops"))["items"]] == ["launch"]


async def test_what_can_not_be_issued_is_given_back_and_issued_again_later(machine: Machine) -> None:
    async with machine.stock() as stock:
        await offer(stock, 2)
        await in_database(machine, POISON)
        poisoned = (await claim(stock, "poisoned")).json()
        await claim(stock, "ann")

        async def returned() -> bool:
            return bool((await stock.json(f"{DROP}/claims/poisoned"))["state"] == "RETURNED")

        await stock.until(returned)
        await until_counts(stock, 1, 0, 1)
        assert (await stock.json(f"{DROP}/claims/poisoned"))["reason"] == "dead-lettered"
        (letter,) = (await stock.json("/api/v1/dead-letters"))["items"]
        assert (letter["topic"], letter["key"]) == (TOPIC, "launch")
        assert "this claim is poison" in letter["exception"]["message"]

        await in_database(machine, ANTIDOTE)
        body = {"claimIds": [poisoned["claimId"], "nobody"]}
        results = (await stock.client.post(f"{DROP}/reissues", json=body)).json()["items"]
        assert [one["result"] for one in results] == ["reissued", "unknown-claim"]
        await until_counts(stock, 2, 0, 0)

        async def settled() -> bool:
            return bool((await stock.json("/api/v1/dead-letters"))["items"][0]["state"] == "SETTLED")

        await stock.until(settled)
        again = (await stock.client.post(f"{DROP}/reissues", json=body)).json()["items"]
        assert again[0]["result"] == "claim-not-returned"


async def test_a_returned_unit_that_went_to_somebody_else_stays_there(machine: Machine) -> None:
    async with machine.stock() as stock:
        await offer(stock, 1)
        await in_database(machine, POISON)
        poisoned = (await claim(stock, "poisoned")).json()

        async def goes_to_bob() -> bool:
            return (await claim(stock, "bob")).status_code == 202

        await stock.until(goes_to_bob)
        await until_counts(stock, 1, 0, 0)
        await in_database(machine, ANTIDOTE)
        letter = (await stock.json("/api/v1/dead-letters"))["items"][0]
        replayed = await stock.client.post(f"/api/v1/dead-letters/{letter['letterId']}/replays")
        assert replayed.status_code == 202

        async def came_back() -> bool:
            found = await stock.json(f"/api/v1/dead-letters/{letter['letterId']}")
            return bool(found["state"] == "OPEN" and "was returned" in found["exception"]["message"])

        await stock.until(came_back)
        body = {"claimIds": [poisoned["claimId"]]}
        (result,) = (await stock.client.post(f"{DROP}/reissues", json=body)).json()["items"]
        assert result["result"] == "sold-out"
        assert (await stock.json(f"{DROP}/claims/poisoned"))["state"] == "RETURNED"
        assert await counts(stock) == (1, 0, 0)


async def test_a_claim_whose_record_can_never_be_published_is_returned_at_once(machine: Machine) -> None:
    machine.broker.refuse = lambda message: Unpublishable("too large") if message.topic == TOPIC else None
    async with machine.stock() as stock:
        await offer(stock, 1)
        lost = (await claim(stock, "ann")).json()
        await until_counts(stock, 0, 0, 1)
        returned = await stock.json(f"{DROP}/claims/ann")
        assert (returned["state"], returned["reason"]) == ("RETURNED", "unpublishable")
        machine.broker.refuse = lambda _: None
        assert (await claim(stock, "bob")).status_code == 202
        await offer(stock, 2)
        body = {"claimIds": [lost["claimId"]]}
        (result,) = (await stock.client.post(f"{DROP}/reissues", json=body)).json()["items"]
        assert result["result"] == "reissued"
        await until_counts(stock, 2, 0, 0)


async def test_while_the_broker_is_away_claims_are_taken_and_issued_when_it_is_back(machine: Machine) -> None:
    async with machine.stock() as stock:
        await offer(stock, 3)
        machine.broker.available = False
        for customer in ("ann", "bob"):
            assert (await claim(stock, customer)).status_code == 202
        assert await counts(stock) == (0, 2, 1)
        machine.broker.available = True
        await until_counts(stock, 2, 0, 1)


async def test_a_record_that_is_no_claim_s_own_is_a_letter_and_takes_nothing_from_anybody(
    machine: Machine,
) -> None:
    async with machine.stock() as stock:
        await offer(stock, 2)
        await in_database(machine, POISON)
        poisoned = (await claim(stock, "poisoned")).json()
        forged = {"claimId": poisoned["claimId"], "code": "launch", "customerId": "somebody"}
        values = [
            None,
            b"\xff\x00",
            b"[]",
            b'{"claimId": 1, "code": "launch", "customerId": "ann"}',
            pydantic_core.to_json(forged),
            pydantic_core.to_json({"claimId": "nobody", "code": "launch", "customerId": "ann"}),
        ]
        messages = [Message(TOPIC, b"launch", value) for value in values]
        assert await machine.broker.publisher().publish(messages) == [None] * len(values)

        async def lettered() -> bool:
            found = (await stock.json("/api/v1/dead-letters"))["items"]
            # The claim's own record and the forged one are about the same claim, and share a letter.
            return bool(sum(letter["attempts"] for letter in found) >= len(values) + 4)

        await stock.until(lettered)
        await until_counts(stock, 0, 0, 2)
        assert (await stock.json(f"{DROP}/claims/poisoned"))["reason"] == "dead-lettered"
        assert (await claim(stock, "ann", prefer="wait=10")).json()["state"] == "ISSUED"


async def test_a_record_that_comes_again_changes_nothing(machine: Machine) -> None:
    async with machine.stock() as stock:
        await offer(stock, 2)
        issued = (await claim(stock, "ann", prefer="wait=10")).json()
        value = pydantic_core.to_json(issued)
        await machine.broker.publisher().publish([Message(TOPIC, b"launch", value)] * 5)
        assert (await claim(stock, "bob", prefer="wait=10")).json()["state"] == "ISSUED"
        assert await counts(stock) == (2, 0, 0)
        assert await stock.json(f"{DROP}/claims/ann") == issued
        assert (await stock.json("/api/v1/dead-letters"))["items"] == []


async def test_senseless_terms_are_refused(stock: Service) -> None:
    senseless: list[dict[str, Any]] = [
        {},
        {"quantity": -1},
        {"quantity": "1"},
        {"quantity": 1, "perCustomer": 0},
        {"quantity": 1, "opensAt": "soon"},
        {"quantity": 1, "more": 1},
    ]
    for body in senseless:
        assert slug(await stock.client.put(DROP, json=body)) == "invalid-request", body
    assert slug(await stock.client.get(DROP)) == "unknown-drop"
