"""The first 5,000 orders of a shop's year through a real stack, and the arithmetic that judges them."""

import dataclasses
from collections import Counter

import aiohttp
import pytest

from tests.e2e.conftest import StartStack
from tests.e2e.jaffle import IN_FLIGHT, SEED, generate
from tests.e2e.jaffle_run import Shop, Urls, run_shop
from tests.e2e.jaffle_shop import (
    EMPTY,
    LIMIT,
    MONEY,
    STOCK,
    Order,
    Outcome,
    Plan,
    Resource,
    Traffic,
    read_orders,
)

ORDERS = 5_000
DAYS = 100
"""As many as hold more than ORDERS orders; the first days are the same, however many follow."""

NAMES = {"a": "first", "b": "second", "c": "third", "d": "fourth", "e": "last"}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    data = generate(tmp_path_factory.mktemp("jaffle"), SEED, DAYS)
    return Plan.of(*read_orders(data, ORDERS))


async def test_every_order_of_the_shop_ends_as_the_arithmetic_says(plan: Plan, start: StartStack) -> None:
    urls = Urls.of(start().settings)
    report = await run_shop(plan, urls, IN_FLIGHT, lambda: None)

    assert report.violations[:20] == []
    assert report.confirmed == sum(outcome.confirmed for outcome in plan.outcomes)
    assert report.confirmed + sum(report.refused.values()) == len(plan.orders) == ORDERS
    assert set(report.refused) == {STOCK, MONEY, LIMIT, EMPTY}

    # The net must catch what is wrong: the same stack against a plan that is false by one order.
    place = next(place for place, outcome in enumerate(plan.outcomes) if outcome.confirmed)
    outcomes = list(plan.outcomes)
    outcomes[place] = Outcome(frozenset({Resource(STOCK, "a", "")}))
    async with aiohttp.ClientSession() as session:
        shop = Shop(dataclasses.replace(plan, outcomes=outcomes), urls, session, IN_FLIGHT)
        await shop.check_ends()
    wrong = "\n".join(shop.report.violations)
    order = plan.orders[place]
    assert f"order {order.order_id}" in wrong
    assert f"account {order.customer}" in wrong
    assert all(f"product {product} " in wrong for product in order.items)


def order(number: int, customer: str, amount: int, **items: int) -> Order:
    return Order(f"order-{number}", customer, items, amount)


def planned(orders: list[Order], stock: int, money: int) -> Plan:
    """Return a plan in which there is so much of product a, and in every account."""
    capacity = {Resource(STOCK, "a", ""): stock}
    capacity |= {Resource(MONEY, "", one.customer): money for one in orders}
    return dataclasses.replace(Plan.of(orders, NAMES), capacity=capacity).replanned()


def test_whoever_comes_while_there_is_enough_gets_it() -> None:
    orders = [order(1, "ann", 5, a=2), order(2, "bob", 5, a=2), order(3, "cat", 5, a=1), order(4, "dan", 5)]
    plan = planned(orders, stock=3, money=9)
    assert [outcome.reasons for outcome in plan.outcomes] == [set(), {STOCK}, set(), {EMPTY}]
    assert plan.sold() == {"a": 3}
    assert plan.captured() == {"ann": 5, "cat": 5}


def test_an_order_may_lack_two_things_at_once() -> None:
    plan = planned([order(1, "ann", 8, a=1), order(2, "ann", 8, a=1)], stock=1, money=9)
    assert [outcome.reasons for outcome in plan.outcomes] == [set(), {STOCK, MONEY}]


def test_a_fair_share_of_the_shop_must_be_refused(plan: Plan) -> None:
    reasons = Counter(reason for outcome in plan.outcomes for reason in outcome.reasons)
    refused = sum(not outcome.confirmed for outcome in plan.outcomes)
    assert 0.1 < refused / len(plan.outcomes) < 0.5
    assert all(reasons[reason] > 0 for reason in (STOCK, MONEY, LIMIT, EMPTY))


def test_an_order_waits_while_one_in_flight_may_hold_what_it_needs() -> None:
    # Bob has no money for his order, but while it is under way it may hold the last unit.
    orders = [order(1, "bob", 99, a=1), order(2, "ann", 5, a=1)]
    plan = planned(orders, stock=1, money=9)
    traffic = Traffic(plan)
    (bob, broke), (ann, served) = zip(orders, plan.outcomes, strict=True)
    assert traffic.may_go(bob, broke)
    traffic.sent(bob, broke)
    assert not traffic.may_go(ann, served)
    traffic.settled(bob, broke)
    assert traffic.may_go(ann, served)


def test_an_order_that_comes_too_late_waits_until_the_last_unit_is_gone_for_certain() -> None:
    orders = [order(1, "ann", 5, a=1), order(2, "bob", 5, a=1)]
    plan = planned(orders, stock=1, money=9)
    traffic = Traffic(plan)
    (ann, served), (bob, late) = zip(orders, plan.outcomes, strict=True)
    traffic.sent(ann, served)
    assert not traffic.may_go(bob, late)
    traffic.settled(ann, served)
    assert traffic.may_go(bob, late)


def test_orders_go_side_by_side_while_there_is_enough_for_all() -> None:
    orders = [order(1, "ann", 5, a=1), order(2, "bob", 5, a=1)]
    plan = planned(orders, stock=2, money=9)
    traffic = Traffic(plan)
    for one, outcome in zip(orders, plan.outcomes, strict=True):
        assert traffic.may_go(one, outcome)
        traffic.sent(one, outcome)
