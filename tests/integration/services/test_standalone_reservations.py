"""Reservations that customers make themselves: held, confirmed over Kafka, cancelled, expired."""

from typing import Any

import pytest

from tests.integration.services.conftest import Machine, Service, slug

STOCKS, PAYMENTS = "/api/v1/stocks", "/api/v1/payments"


async def stocked(stock: Service, on_hand: int = 10, **more: Any) -> None:
    await stock.client.put("/api/v1/products/p", json={"onHand": on_hand, **more})


async def held(stock: Service, qty: int = 2, **more: Any) -> str:
    answer = await stock.client.post(STOCKS, json={"productId": "p", "qty": qty, **more})
    assert answer.status_code == 201, answer.text
    return f"{STOCKS}/{answer.json()['id']}"


async def counts(stock: Service) -> tuple[int, int, int]:
    product = await stock.json("/api/v1/products/p")
    assert product["available"] == product["onHand"] - product["held"]
    return product["onHand"], product["held"], product["sold"]


async def test_a_reservation_holds_units_and_says_where_it_is(stock: Service) -> None:
    await stocked(stock)
    answer = await stock.client.post(STOCKS, json={"productId": "p", "qty": 2, "orderId": "o"})
    assert answer.status_code == 201
    reservation = answer.json()
    assert answer.headers["location"] == reservation["uri"]
    assert reservation["uri"].endswith(f"{STOCKS}/{reservation['id']}")
    assert (reservation["state"], reservation["items"]) == ("TRIED", [{"productId": "p", "qty": 2}])
    assert (reservation["customerId"], reservation["orderId"]) == ("guest", "o")
    assert await stock.json(f"{STOCKS}/{reservation['id']}") == reservation
    assert await counts(stock) == (10, 2, 0)


async def test_a_confirm_sells_what_is_held(stock: Service) -> None:
    await stocked(stock)
    path = await held(stock)
    assert (await stock.client.put(path, headers={"prefer": "wait=10"})).status_code == 204
    assert await counts(stock) == (8, 0, 2)
    assert (await stock.client.put(path)).status_code == 204
    assert await counts(stock) == (8, 0, 2)


async def test_a_confirm_that_need_not_wait_is_accepted_and_applied_later(stock: Service) -> None:
    await stocked(stock)
    path = await held(stock)
    assert (await stock.client.put(path)).status_code in (202, 204)
    await stock.until_state(path, "CONFIRMED")
    assert await counts(stock) == (8, 0, 2)


async def test_a_cancel_puts_back_what_is_held(stock: Service) -> None:
    await stocked(stock)
    path = await held(stock)
    for _ in range(2):
        assert (await stock.client.delete(path)).status_code == 204
    assert await counts(stock) == (10, 0, 0)
    refused = await stock.client.put(path)
    assert (refused.status_code, slug(refused)) == (410, "reservation-cancelled")


async def test_a_confirmed_reservation_is_not_cancelled(stock: Service) -> None:
    await stocked(stock)
    path = await held(stock)
    await stock.client.put(path, headers={"prefer": "wait=10"})
    refused = await stock.client.delete(path)
    assert (refused.status_code, slug(refused)) == (409, "reservation-confirmed")
    assert await counts(stock) == (8, 0, 2)


async def test_an_unknown_reservation_is_not_found(stock: Service) -> None:
    for call in (stock.client.get, stock.client.put, stock.client.delete):
        assert (await call(f"{STOCKS}/nobody")).status_code == 404


async def test_an_expired_reservation_is_swept_and_can_no_longer_be_confirmed(stock: Service) -> None:
    await stocked(stock)
    path = await held(stock, seconds=30)
    stock.clock.shift += 31_000
    await stock.until_state(path, "CANCELLED")
    assert await counts(stock) == (10, 0, 0)
    refused = await stock.client.put(path)
    assert (refused.status_code, slug(refused)) == (410, "reservation-expired")


async def test_a_reservation_lasts_ten_minutes_unless_told(stock: Service) -> None:
    await stocked(stock)
    path = await held(stock)
    stock.clock.shift += 590_000
    assert (await stock.client.put(path, headers={"prefer": "wait=10"})).status_code == 204


async def test_a_confirm_of_a_frozen_product_waits_until_it_is_released(machine: Machine) -> None:
    machine.retry = "fixed:20ms,1000"
    async with machine.stock() as stock:
        await stocked(stock)
        path = await held(stock)
        await stocked(stock, frozen=True)
        refused = await stock.client.post(STOCKS, json={"productId": "p", "qty": 1})
        assert (refused.status_code, slug(refused)) == (409, "product-frozen")
        assert (await stock.client.put(path, headers={"prefer": "wait=1"})).status_code == 202
        assert await counts(stock) == (10, 2, 0)
        await stocked(stock, frozen=False)
        await stock.until_state(path, "CONFIRMED")
        assert await counts(stock) == (8, 0, 2)
        assert (await stock.json("/api/v1/dead-letters"))["items"] == []


async def test_a_reservation_of_a_frozen_product_can_be_cancelled(stock: Service) -> None:
    await stocked(stock)
    path = await held(stock)
    await stocked(stock, frozen=True)
    assert (await stock.client.delete(path)).status_code == 204
    assert await counts(stock) == (10, 0, 0)


async def test_a_confirm_that_stays_frozen_becomes_a_dead_letter_and_is_replayed(stock: Service) -> None:
    await stocked(stock)
    path = await held(stock)
    await stocked(stock, frozen=True)
    await stock.client.put(path)

    async def dead() -> bool:
        return bool((await stock.json("/api/v1/dead-letters"))["items"])

    await stock.until(dead)
    (letter,) = (await stock.json("/api/v1/dead-letters"))["items"]
    assert (letter["topic"], letter["key"], letter["attempts"]) == ("stock-adjustment", "p", 4)
    assert (await stock.json(path))["state"] == "CONFIRMING"
    assert (await stock.client.delete(path)).status_code == 409
    await stocked(stock, frozen=False)
    replayed = await stock.client.post(f"/api/v1/dead-letters/{letter['letterId']}/replays", json={})
    assert replayed.status_code == 202
    await stock.until_state(path, "CONFIRMED")
    assert await counts(stock) == (8, 0, 2)


async def test_several_products_are_held_and_sold_together(stock: Service) -> None:
    for product_id in "ab":
        await stock.client.put(f"/api/v1/products/{product_id}", json={"onHand": 3})
    items = [{"productId": "b", "qty": 1}, {"productId": "a", "qty": 1}, {"productId": "b", "qty": 2}]
    answer = await stock.client.post(STOCKS, json={"items": items})
    assert answer.json()["items"] == [{"productId": "a", "qty": 1}, {"productId": "b", "qty": 3}]
    path = f"{STOCKS}/{answer.json()['id']}"
    assert (await stock.client.put(path, headers={"prefer": "wait=10"})).status_code == 204
    products = (await stock.json("/api/v1/products"))["items"]
    assert [(each["onHand"], each["held"], each["sold"]) for each in products] == [(2, 0, 1), (0, 0, 3)]


async def test_what_cannot_be_held_is_refused(stock: Service) -> None:
    await stocked(stock, on_hand=5, purchaseLimit=3)
    for body, status, expected in (
        ({"productId": "p", "qty": 6}, 409, "insufficient-stock"),
        ({"productId": "p", "qty": 4}, 409, "purchase-limit-reached"),
        ({"productId": "q", "qty": 1}, 422, "unknown-product"),
        ({"productId": "p", "qty": 0}, 422, "invalid-request"),
        ({"productId": "p"}, 422, "invalid-request"),
        ({"productId": "p", "qty": 1, "seconds": 0}, 422, "invalid-request"),
    ):
        refused = await stock.client.post(STOCKS, json=body)
        assert (refused.status_code, slug(refused)) == (status, expected)
    assert await counts(stock) == (5, 0, 0)
    assert (await stock.json(STOCKS))["items"] == []


async def test_on_hand_cannot_fall_below_what_is_held(stock: Service) -> None:
    await stocked(stock)
    await held(stock, qty=4)
    for answer in (
        await stock.client.put("/api/v1/products/p", json={"onHand": 3}),
        await stock.client.post("/api/v1/products/p/adjustments", json={"delta": -7, "reason": "broken"}),
    ):
        assert (answer.status_code, slug(answer)) == (409, "below-held")
    assert (await stock.client.put("/api/v1/products/p", json={"onHand": 4})).status_code == 200
    assert await counts(stock) == (4, 4, 0)


async def test_reservations_are_listed_by_state(stock: Service) -> None:
    await stocked(stock)
    kept, dropped = await held(stock), await held(stock)
    await stock.client.delete(dropped)
    listed = (await stock.json(f"{STOCKS}?state=TRIED"))["items"]
    assert [f"{STOCKS}/{each['id']}" for each in listed] == [kept]
    assert len((await stock.json(STOCKS))["items"]) == 2


async def funds(payment: Service) -> tuple[int, int, int, int]:
    account = await payment.json("/api/v1/accounts/ada")
    assert account["available"] == account["balance"] - account["held"]
    return account["balance"], account["held"], account["captured"], account["refunded"]


async def authorised(payment: Service, amount: int = 30) -> str:
    await payment.client.put("/api/v1/accounts/ada", json={"balance": 100})
    answer = await payment.client.post(PAYMENTS, json={"customerId": "ada", "paymentAmt": amount})
    assert answer.status_code == 201, answer.text
    assert answer.json()["paymentAmt"] == amount
    return f"{PAYMENTS}/{answer.json()['id']}"


async def test_a_payment_is_authorised_captured_and_refunded(payment: Service) -> None:
    path = await authorised(payment)
    assert await funds(payment) == (100, 30, 0, 0)
    early = await payment.client.post(f"{path}/refunds", json={"reason": "too early"})
    assert (early.status_code, slug(early)) == (409, "payment-not-captured")
    assert (await payment.client.put(path, headers={"prefer": "wait=10"})).status_code == 204
    assert await funds(payment) == (70, 0, 30, 0)
    made = await payment.client.post(f"{path}/refunds", json={"amount": 10, "reason": "broken"})
    assert made.status_code == 201
    assert await funds(payment) == (80, 0, 30, 10)


async def test_a_voided_payment_gives_the_money_free(payment: Service) -> None:
    path = await authorised(payment)
    for _ in range(2):
        assert (await payment.client.delete(path)).status_code == 204
    assert await funds(payment) == (100, 0, 0, 0)
    refused = await payment.client.post(f"{path}/refunds", json={"reason": "never captured"})
    assert (refused.status_code, slug(refused)) == (409, "payment-not-captured")


async def test_an_expired_payment_is_voided(payment: Service) -> None:
    path = await authorised(payment)
    payment.clock.shift += 601_000
    await payment.until_state(path, "CANCELLED")
    assert await funds(payment) == (100, 0, 0, 0)


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        ({"customerId": "ada", "paymentAmt": 101}, 402, "payment-declined"),
        ({"customerId": "nobody", "paymentAmt": 1}, 402, "payment-declined"),
        ({"paymentAmt": 1}, 402, "payment-declined"),
        ({"customerId": "ada", "paymentAmt": -1}, 422, "invalid-request"),
        ({"customerId": "ada"}, 422, "invalid-request"),
    ],
)
async def test_what_cannot_be_authorised_is_declined(
    payment: Service, body: dict[str, Any], status: int, expected: str
) -> None:
    await payment.client.put("/api/v1/accounts/ada", json={"balance": 100})
    refused = await payment.client.post(PAYMENTS, json=body)
    assert (refused.status_code, slug(refused)) == (status, expected)
    assert await funds(payment) == (100, 0, 0, 0)
