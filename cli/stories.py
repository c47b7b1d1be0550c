"""The five stories of the README, as the demo tells them."""

from collections.abc import Callable

from cli.api import Api, Json
from cli.letters import Letter, find
from cli.outcome import CommandError
from cli.replays import Fate, Manner, replay
from cli.selection import Selection
from cli.story import Story

WAIT = {"Prefer": "wait=10"}
MANNER = Manner({"who": "demo", "why": "product 2 is thawed"}, patience=20.0)

Tell = Callable[[Story, Api], None]


def confirmed(story: Story, _: Api) -> None:
    """An order is confirmed: stock is sold and money captured, both or neither."""
    order = story.request(
        "POST",
        "order",
        "/orders",
        {"orderId": "demo-1", "productId": "1", "qty": 2, "paymentAmt": 900},
        **WAIT,
    )
    story.promise("the order is CONFIRMED", order.get("status") == "CONFIRMED")
    product = story.request("GET", "stock", "/products/1")
    story.promise("two are sold, none is held", (product["sold"], product["held"]) == (2, 0))
    account = story.look("payment", "/accounts/guest")
    story.promise("900 are captured, none are held", (account["captured"], account["held"]) == (900, 0))
    again = story.request(
        "POST",
        "order",
        "/orders",
        {"orderId": "demo-1", "productId": "1", "qty": 2, "paymentAmt": 900},
        **WAIT,
    )
    story.promise("sent again, it is the same order", again["httpStatus"] == 200)
    story.promise("and nothing is sold twice", story.look("stock", "/products/1")["sold"] == 2)


def out_of_stock(story: Story, _: Api) -> None:
    """An order asks for more than there is: it is refused, and nothing of it stays."""
    order = story.request(
        "POST",
        "order",
        "/orders",
        {"orderId": "demo-2", "productId": "prd-0001", "qty": 11, "paymentAmt": 100},
    )
    story.promise("refused: insufficient-stock", order.get("problem") == "insufficient-stock")
    _let_go(story, "demo-2", "prd-0001", available=10)
    story.promise("no money is held", story.look("payment", "/accounts/guest")["held"] == 0)


def declined(story: Story, _: Api) -> None:
    """The customer can't pay: the order is refused, and the stock that was held for it is let go."""
    story.request("PUT", "payment", "/accounts/ann", {"balance": 500})
    order = story.request(
        "POST",
        "order",
        "/orders",
        {"orderId": "demo-3", "customerId": "ann", "productId": "prd-0002", "qty": 1, "paymentAmt": 600},
    )
    story.promise("refused: payment-declined", order.get("problem") == "payment-declined")
    _let_go(story, "demo-3", "prd-0002", available=20)
    story.promise("her money is untouched", story.look("payment", "/accounts/ann")["available"] == 500)


def expired(story: Story, _: Api) -> None:
    """An order is held, and nobody pays in time: it expires and is swept."""
    order = story.request(
        "POST",
        "order",
        "/orders",
        {"orderId": "demo-4", "productId": "prd-0003", "qty": 3, "paymentAmt": 300, "hold": {"seconds": 2}},
    )
    story.promise("the order is HELD", order.get("status") == "HELD")
    held = story.look("stock", "/products/prd-0003")
    story.promise("three are held, 27 are left", (held["held"], held["available"]) == (3, 27))
    _let_go(story, "demo-4", "prd-0003", available=30)
    late = story.request("PUT", "order", "/orders/demo-4")
    story.promise("paid too late: 410", late["httpStatus"] == 410)


def dead_letter(story: Story, api: Api) -> None:
    """A confirmation can't be applied, becomes a dead letter, and is replayed once the cause is gone."""
    order = story.request(
        "POST",
        "order",
        "/orders",
        {"orderId": "demo-5", "productId": "2", "qty": 1, "paymentAmt": 50, "hold": {"seconds": 60}},
    )
    story.promise("the order is HELD", order.get("status") == "HELD")
    story.request("PUT", "stock", "/products/2", {"frozen": True})
    paid = story.request("PUT", "order", "/orders/demo-5")
    story.promise("paid, so it will be confirmed, come what may", paid.get("status") == "CONFIRMING")
    transaction = str(order["transactionId"])
    letter = _wait_for_letter(story, api, transaction)
    story.tell(f"  letter {letter.id} on {letter.topic}, kept by the {letter.program} service")
    story.wait(
        "the coordinator shows that it needs attention",
        lambda: _if(story.look("coordinator", f"/transactions/{transaction}"), "attention"),
    )
    story.promise("it is not cancelled", story.look("order", "/orders/demo-5")["status"] == "CONFIRMING")
    story.request("PUT", "stock", "/products/2", {"frozen": False})
    story.tell(f"handfast dlt replay {letter.id}")
    [result] = replay(api, [letter], MANNER, _nothing)
    story.promise(f"the letter is {result.fate.value}", result.fate is Fate.APPLIED)
    story.wait("the order becomes CONFIRMED", lambda: _in(story, "demo-5", "CONFIRMED"))
    story.promise("exactly one is sold", story.look("stock", "/products/2")["sold"] == 1)
    [again] = replay(api, [_now(api, letter)], MANNER, _nothing)
    story.promise("replayed once more, it is skipped", again.fate is Fate.SKIPPED)


STORIES: tuple[Tell, ...] = (confirmed, out_of_stock, declined, expired, dead_letter)


def _let_go(story: Story, order_id: str, product: str, available: int) -> None:
    """Wait until a refused order is settled everywhere, and check that the stock is back."""
    story.wait("the order becomes CANCELLED", lambda: _in(story, order_id, "CANCELLED"))
    found = story.request("GET", "stock", f"/products/{product}")
    story.promise(
        f"all {available} are available",
        (found["available"], found["held"], found["sold"]) == (available, 0, 0),
    )


def _in(story: Story, order_id: str, status: str) -> Json | None:
    order = story.look("order", f"/orders/{order_id}")
    return order if order["status"] == status else None


def _if(view: Json, name: str) -> Json | None:
    return view if view.get(name) else None


def _wait_for_letter(story: Story, api: Api, transaction: str) -> Letter:
    def look() -> Json | None:
        found = find(api, Selection(transaction=transaction)).letters
        return {"letter": found[0]} if found else None

    letter = story.wait("the stock service tries, backs off, gives up: a dead letter", look)["letter"]
    if not isinstance(letter, Letter):
        raise CommandError("no dead letter was found")
    return letter


def _now(api: Api, letter: Letter) -> Letter:
    return Letter(letter.program, api.get(letter.program, f"/dead-letters/{letter.id}"))


def _nothing() -> None:
    """One letter is done: too few for a progress bar."""
