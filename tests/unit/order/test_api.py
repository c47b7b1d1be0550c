"""The front door over HTTP: every status of the contract, and nothing but."""

import asyncio

import pytest
from ulid import ULID

from order_service.domain import Status
from shared.clock import from_iso, iso
from shared.http.caller import Reply
from tests.unit.order.coordinator import declined
from tests.unit.order.shop import HELD, ONE, PATH, Shop, problem


async def test_an_order_is_shown_as_the_contract_has_it(shop: Shop) -> None:
    response = await shop.post({"productId": "2", "qty": 3, "paymentAmt": 5})
    assert response.status_code == 201
    order = response.json()
    assert set(order) == {
        "orderId",
        "customerId",
        "items",
        "paymentAmt",
        "status",
        "transactionId",
        "createdAt",
        "updatedAt",
    }
    assert order["customerId"] == "guest"
    assert order["items"] == [{"productId": "2", "qty": 3}]
    assert (order["paymentAmt"], order["status"]) == (5, "CONFIRMING")
    assert from_iso(order["createdAt"]) == shop.clock.now()
    assert response.headers["location"] == f"{PATH}/{order['orderId']}"
    again = await shop.client.get(response.headers["location"])
    assert (again.status_code, again.json()) == (200, order)


async def test_an_order_that_brings_no_id_is_given_a_ulid_of_its_moment(shop: Shop) -> None:
    held = await shop.post({"productId": "2", "qty": 1, "paymentAmt": 5, "hold": {}})
    assert ULID.from_str(held.json()["orderId"]).milliseconds == shop.clock.now()


async def test_items_are_the_same_order_however_they_are_written(shop: Shop) -> None:
    await shop.post(ONE)
    split = {**ONE, "productId": None, "qty": None, "items": [{"productId": "2", "qty": 1}]}
    assert (await shop.post(split)).status_code == 200
    several = {
        "orderId": "o-2",
        "paymentAmt": 1,
        "items": [{"productId": p, "qty": q} for p, q in (("b", 1), ("a", 2), ("b", 3))],
    }
    response = await shop.post(several)
    assert response.json()["items"] == [{"productId": "b", "qty": 4}, {"productId": "a", "qty": 2}]
    branch = shop.coordinator.requests[-1].document["branches"][1]
    assert "key" not in branch


async def test_a_repeat_is_200_and_the_order_as_it_is_now(shop: Shop) -> None:
    first = await shop.post(ONE)
    await shop.settle("o-1", Status.CONFIRMED)
    again = await shop.post(ONE)
    assert again.status_code == 200
    assert again.json() == {**first.json(), "status": "CONFIRMED"}
    assert again.headers["location"] == first.headers["location"]


async def test_a_reused_order_id_is_422(shop: Shop) -> None:
    await shop.post(ONE)
    assert problem(await shop.post({**ONE, "qty": 2})) == (422, "order-id-reused")


@pytest.mark.parametrize(
    ("participant", "slug", "status"),
    [
        ("payment", "payment-declined", 402),
        ("stock", "insufficient-stock", 409),
        ("stock", "unknown-product", 422),
    ],
)
async def test_a_refusal_is_the_same_problem_every_time(
    shop: Shop, participant: str, slug: str, status: int
) -> None:
    shop.coordinator.refusals[participant] = {**declined(slug, status), "productId": "2"}
    first = await shop.post(ONE, idempotency_key="k")
    assert problem(first) == (status, slug)
    assert (first.json()["orderId"], first.json()["productId"]) == ("o-1", "2")
    await shop.settle("o-1", Status.CANCELLED, slug)
    for headers in ({}, {"idempotency_key": "k"}):
        assert (await shop.post(ONE, **headers)).json() == first.json()
    shown = (await shop.client.get(f"{PATH}/o-1")).json()
    assert (shown["status"], shown["reason"]) == ("CANCELLED", slug)


async def test_an_uncertain_outcome_is_202_and_stays_so_while_it_is(shop: Shop) -> None:
    shop.coordinator.away = True
    for _ in range(2):
        response = await shop.post(ONE)
        assert (response.status_code, response.json()["status"]) == (202, "PENDING")
        assert int(response.headers["retry-after"]) >= 1
        assert response.headers["location"] == f"{PATH}/o-1"
    shop.coordinator.away = False
    assert (await shop.post(ONE)).status_code == 200


async def test_an_idempotency_key_stands_for_one_order(shop: Shop) -> None:
    body = {name: value for name, value in ONE.items() if name != "orderId"}
    first = await shop.post(body, idempotency_key="k-1")
    again = await shop.post(body, idempotency_key="k-1")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    other = await shop.post({**body, "qty": 2}, idempotency_key="k-1")
    assert problem(other) == (422, "idempotency-key-reused")
    assert problem(await shop.post(body, idempotency_key="x" * 256)) == (422, "invalid-request")
    assert (await shop.client.get(PATH)).json()["items"] == [first.json()]


async def test_a_hold_is_held_paid_and_confirmed(shop: Shop) -> None:
    held = await shop.post(HELD)
    assert (held.status_code, held.json()["status"]) == (201, "HELD")
    assert held.json()["expiresAt"] == iso(shop.clock.now() + 60_000)
    shop.coordinator.refusals["payment"] = declined("payment-declined", 402)
    assert problem(await shop.client.put(f"{PATH}/o-1")) == (402, "payment-declined")
    assert (await shop.client.get(f"{PATH}/o-1")).json()["status"] == "HELD"
    shop.coordinator.refusals.clear()
    shop.coordinator.undecided = 1_000
    unknown = await shop.client.put(f"{PATH}/o-1")
    assert (unknown.status_code, unknown.json()["status"]) == (202, "HELD")
    assert "retry-after" in unknown.headers
    shop.coordinator.undecided = 0
    for _ in range(2):
        paid = await shop.client.put(f"{PATH}/o-1")
        assert (paid.status_code, paid.json()["status"]) == (200, "CONFIRMING")
    assert problem(await shop.client.delete(f"{PATH}/o-1")) == (409, "order-confirmed")


async def test_a_hold_without_seconds_lasts_as_long_as_the_settings_say(shop: Shop) -> None:
    held = await shop.post({**ONE, "hold": {}})
    assert held.json()["expiresAt"] == iso(shop.clock.now() + 600_000)


async def test_a_hold_paid_too_late_is_410(shop: Shop) -> None:
    await shop.post(HELD)
    shop.clock.pass_seconds(61)
    for _ in range(2):
        assert problem(await shop.client.put(f"{PATH}/o-1")) == (410, "reservation-expired")
    await shop.settle("o-1", Status.CANCELLED)
    assert (await shop.client.delete(f"{PATH}/o-1")).status_code == 204


async def test_a_hold_is_called_off(shop: Shop) -> None:
    await shop.post(HELD)
    deleting = asyncio.create_task(shop.client.delete(f"{PATH}/o-1"))
    async with asyncio.timeout(5):
        while True:
            if (await shop.order("o-1")).status is Status.CANCELLING:
                break
            await asyncio.sleep(0.001)
    await shop.settle("o-1", Status.CANCELLED)
    response = await deleting
    assert (response.status_code, response.content) == (204, b"")
    assert (await shop.client.delete(f"{PATH}/o-1")).status_code == 204
    assert problem(await shop.client.put(f"{PATH}/o-1")) == (409, "order-cancelled")
    assert shop.coordinator.asked("DELETE")[0].reason == "cancelled-by-customer"


async def test_calling_off_without_a_coordinator_promises_nothing(shop: Shop) -> None:
    await shop.post(HELD)
    shop.coordinator.answer_with = Reply(404, {}, b"{}")
    response = await shop.client.delete(f"{PATH}/o-1")
    assert problem(response) == (503, "coordinator-unreachable")
    assert "retry-after" in response.headers


async def test_an_order_that_is_not_held_is_neither_paid_nor_called_off(shop: Shop) -> None:
    shop.coordinator.away = True
    await shop.post(ONE)
    assert problem(await shop.client.put(f"{PATH}/o-1")) == (409, "order-not-held")
    assert problem(await shop.client.delete(f"{PATH}/o-1")) == (409, "order-not-held")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_an_unknown_order_is_404(shop: Shop, method: str) -> None:
    assert problem(await shop.client.request(method, f"{PATH}/none"))[0] == 404


async def test_a_put_takes_any_content_type_without_a_body(shop: Shop) -> None:
    await shop.post(HELD)
    response = await shop.client.put(f"{PATH}/o-1", headers={"content-type": "text/plain"})
    assert response.status_code == 200


async def test_nothing_is_free_but_allowed(shop: Shop) -> None:
    assert (await shop.post({**ONE, "paymentAmt": 0})).status_code == 201


async def test_a_wish_to_wait_is_granted(shop: Shop) -> None:
    posting = asyncio.create_task(shop.post(ONE, prefer="wait=20"))
    async with asyncio.timeout(5):
        while True:
            await asyncio.sleep(0.001)
            rows = (await shop.client.get(PATH)).json()["items"]
            if rows and rows[0]["status"] == "CONFIRMING":
                break
    await shop.settle("o-1", Status.CONFIRMED)
    response = await asyncio.wait_for(posting, 5)
    assert (response.status_code, response.json()["status"]) == (201, "CONFIRMED")


async def test_order_reservations_exist_within_transactions_only(shop: Shop) -> None:
    path = "/api/v1/order-reservations"
    assert problem(await shop.client.post(path, json={"orderId": "o-1"}))[0] == 422
    await shop.post(HELD)
    order = await shop.order("o-1")
    tcc = {
        "tcc-transaction-id": order.transaction_id,
        "tcc-branch-id": "b-1",
        "tcc-deadline": iso(shop.clock.now() + 10_000),
    }
    assert (await shop.client.post(path, json={"orderId": "o-1"}, headers=tcc)).status_code == 201
    cancel = {"tcc-transaction-id": order.transaction_id, "tcc-reason": "transaction-expired"}
    assert (await shop.client.delete(f"{path}/b-1", headers=cancel)).status_code == 204
    after = (await shop.client.get(f"{PATH}/o-1")).json()
    assert (after["status"], after["reason"]) == ("CANCELLED", "reservation-expired")


async def test_a_cancel_before_its_try_cancels_the_order_too(shop: Shop) -> None:
    shop.coordinator.away = True
    await shop.post(ONE)
    order = await shop.order("o-1")
    headers = {"tcc-transaction-id": order.transaction_id, "tcc-reason": "insufficient-stock"}
    response = await shop.client.delete("/api/v1/order-reservations/b-9", headers=headers)
    assert response.status_code == 204
    assert problem(await shop.post(ONE)) == (409, "insufficient-stock")


async def test_every_answer_is_declared(shop: Shop) -> None:
    paths = (await shop.client.get("/openapi.json")).json()["paths"]
    wanted = {
        (PATH, "post"): {"200", "201", "202", "402", "409", "413", "415", "422", "503"},
        (PATH, "get"): {"200", "422", "503"},
        (PATH + "/{order_id}", "get"): {"200", "404"},
        (PATH + "/{order_id}", "put"): {"200", "202", "402", "404", "409", "410"},
        (PATH + "/{order_id}", "delete"): {"202", "204", "404", "409", "503"},
    }
    for (path, method), statuses in wanted.items():
        assert statuses <= set(paths[path][method]["responses"]), (path, method)
