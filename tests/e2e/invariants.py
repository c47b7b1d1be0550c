"""The invariants of the design, checked from outside on a stack that has come to rest."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from cli.api import Api
from cli.stack import OwnStack

UNSETTLED = ("PENDING", "HELD", "CONFIRMING", "CANCELLING")
UNDECIDED = ("TRYING", "TRIED", "CONFIRMING", "CANCELLING")


def unsettled(stack: OwnStack) -> list[str]:
    """Return what is not at rest yet: orders, transactions and reservations."""
    found: list[str] = []
    with Api(stack.settings) as api:
        for status in UNSETTLED:
            found += [
                f"order {o['orderId']} {status}" for o in api.items("order", "/orders", {"status": status})
            ]
        for state in UNDECIDED:
            listed = api.items("coordinator", "/transactions", {"state": state})
            found += [f"transaction {t['transactionId']} {state}" for t in listed]
        for program, path in (
            ("stock", "/stocks"),
            ("payment", "/payments"),
            ("order", "/order-reservations"),
        ):
            for state in ("TRIED", "CONFIRMING"):
                listed = api.items(program, path, {"state": state})
                found += [f"{program} reservation {r['id']} {state}" for r in listed]
    return found


def check(stack: OwnStack, on_hand: Mapping[str, int], balances: Mapping[str, int]) -> dict[str, str]:
    """Check a stack at rest; return the status of every order by id.

    on_hand, balances: what there was at the beginning, by product and customer.
    """
    with Api(stack.settings) as api:
        orders = list(api.items("order", "/orders"))
        transactions = list(api.items("coordinator", "/transactions"))
        products = {product: api.get("stock", f"/products/{product}") for product in on_hand}
        accounts = {customer: api.get("payment", f"/accounts/{customer}") for customer in balances}
    for transaction in transactions:
        _check_one_outcome(transaction)
    confirmed = [order for order in orders if order["status"] == "CONFIRMED"]
    by_id = {transaction["transactionId"]: transaction["state"] for transaction in transactions}
    for order in confirmed:
        assert by_id[order["transactionId"]] == "CONFIRMED", order
    _check_sums(confirmed, products, accounts, on_hand, balances)
    return {order["orderId"]: order["status"] for order in orders}


def _check_one_outcome(transaction: Any) -> None:
    """No mixed outcome: every branch that counts ended as the transaction did."""
    counting = [branch for branch in transaction["branches"] if branch["state"] != "CLOSED"]
    allowed = {"CONFIRMED": {"CONFIRMED"}, "CANCELLED": {"CANCELLED", "REFUSED"}}[transaction["state"]]
    assert {branch["state"] for branch in counting} <= allowed, transaction


def _check_sums(
    confirmed: list[Any],
    products: Mapping[str, Any],
    accounts: Mapping[str, Any],
    on_hand: Mapping[str, int],
    balances: Mapping[str, int],
) -> None:
    sold: Counter[str] = Counter()
    paid: Counter[str] = Counter()
    for order in confirmed:
        paid[order["customerId"]] += order["paymentAmt"]
        for item in order["items"]:
            sold[item["productId"]] += item["qty"]
    for name, product in products.items():
        expected = {"held": 0, "sold": sold[name], "onHand": on_hand[name] - sold[name]}
        assert {key: product[key] for key in expected} == expected, (name, product)
    for name, account in accounts.items():
        expected = {"held": 0, "captured": paid[name], "balance": balances[name] - paid[name]}
        assert {key: account[key] for key in expected} == expected, (name, account)
