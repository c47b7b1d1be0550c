"""Things that are there before the programs are driven from their descriptions: some of each sort.

Generated ids hardly ever name something, so most of what a program can answer would never be seen.
"""

from typing import Any, Final

from shared.clock import SystemClock, iso
from shared.messaging.broker import Message
from shared.tcc.confirmations import OUTCOMES
from tests.e2e.waiting import eventually
from tests.integration.hostile.programs import Programs

TOPICS: Final = {
    "coordinator": OUTCOMES,
    "order": "order-confirmation",
    "stock": "stock-adjustment",
    "payment": "payment-capture",
}
"""The topic that each program consumes."""

Ids = dict[str, list[str]]


def plant(programs: Programs) -> dict[str, Ids]:
    """Make something of everything; return, for each program, the ids of its path parameters."""
    for product_id in ("p", "q", "r"):
        programs.send("PUT", "stock", f"/products/{product_id}", {"onHand": 10**9})
    programs.send("PUT", "stock", "/products/frozen", {"onHand": 10, "frozen": True})
    for customer_id in ("c", "guest"):
        programs.send("PUT", "payment", f"/accounts/{customer_id}", {"balance": 10**12})
    orders, transactions = _orders(programs)
    letters = {program: _letter(programs, program) for program in TOPICS}
    own: dict[str, Ids] = {
        "coordinator": {
            "transaction_id": [*transactions, *_transactions(programs)],
            "reconciliation_id": [_reconciliation(programs)],
        },
        "order": {"order_id": orders, "reservation_id": _branches(programs, "order", "order-reservations")},
        "stock": {
            "product_id": ["p", "q", "frozen"],
            "reservation_id": _stocks(programs),
            "code": ["d", "sold-out", "closed"],
            "customer_id": _claims(programs),
        },
        "payment": {"customer_id": ["c", "guest"], "reservation_id": _payments(programs)},
    }
    own["payment"]["payment_id"] = own["payment"]["reservation_id"]
    return {program: {**ids, "letter_id": [letters[program]]} for program, ids in own.items()}


def _reconciliation(programs: Programs) -> str:
    made = programs.send("POST", "coordinator", "/reconciliations", {"dryRun": True}, {"Prefer": "wait=20"})
    assert made.status == 202, made
    run_id: str = made.json()["reconciliationId"]
    return run_id


def _orders(programs: Programs) -> tuple[list[str], list[str]]:
    """Return the ids of orders of every sort, and those of their transactions."""
    wait = {"Prefer": "wait=20"}
    body = {"customerId": "c", "productId": "p", "qty": 1, "paymentAmt": 5}
    for order_id in ("bought", "held", "called-off", "paid"):
        hold = {} if order_id == "bought" else {"hold": {"seconds": 3_600}}
        made = programs.send("POST", "order", "/orders", {"orderId": order_id, **body, **hold}, wait)
        assert made.status == 201, made
    for order_id, customer_id in (("declined", "nobody"), ("refused", "c")):
        refused = {"orderId": order_id, **body, "customerId": customer_id, "qty": 10**9}
        assert programs.send("POST", "order", "/orders", refused, wait).status in (402, 409)
    assert programs.send("PUT", "order", "/orders/paid", headers=wait).status == 200
    assert programs.send("DELETE", "order", "/orders/called-off").status == 204
    shown = programs.read("order", "/orders")["items"]
    return [one["orderId"] for one in shown], [one["transactionId"] for one in shown]


def _transactions(programs: Programs) -> list[str]:
    """Return the ids of manual transactions, the first few of which can still be decided."""
    made = []
    for number in range(4):
        branch = {"participant": "stock", "claim": {"productId": "q", "qty": 1}}
        body = {"mode": "manual", "timeoutSeconds": 3_600, "branches": [branch]}
        answer = programs.send(
            "POST", "coordinator", "/transactions", {"transactionId": f"m{number}", **body}
        )
        assert answer.status == 201, answer
        made.append(answer.json()["transactionId"])
    return made


def _stocks(programs: Programs) -> list[str]:
    own = [_reserve(programs, "stock", "/stocks", {"productId": "r", "qty": 1}) for _ in range(4)]
    return [*own, *_branches(programs, "stock", "stocks")]


def _claims(programs: Programs) -> list[str]:
    """Make drops of every sort; return the customers who have claimed something."""
    for code, terms in (("d", {"perCustomer": 100}), ("sold-out", {}), ("closed", {"closesAt": instant(-1)})):
        made = programs.send("PUT", "stock", f"/drops/{code}", {"quantity": 100, **terms})
        assert made.status == 201, made
    for code, customer_id in (("d", "c"), ("sold-out", "c"), ("sold-out", "guest")):
        claimed = programs.send("POST", "stock", f"/drops/{code}/claims", {"customerId": customer_id})
        assert claimed.status == 202, claimed
    assert programs.send("PUT", "stock", "/drops/sold-out", {"quantity": 2}).status == 200
    return ["c", "guest"]


def _payments(programs: Programs) -> list[str]:
    own = [_reserve(programs, "payment", "/payments", {"customerId": "c", "paymentAmt": 9}) for _ in range(4)]
    confirmed = programs.send("PUT", "payment", f"/payments/{own[0]}", headers={"Prefer": "wait=20"})
    assert confirmed.status == 204, confirmed
    return [*own, *_branches(programs, "payment", "payments")]


def _reserve(programs: Programs, program: str, path: str, claim: dict[str, Any]) -> str:
    answer = programs.send("POST", program, path, {**claim, "seconds": 3_600})
    assert answer.status == 201, answer
    reservation_id: str = answer.json()["id"]
    return reservation_id


def _branches(programs: Programs, program: str, collection: str) -> list[str]:
    """Return the ids of one tombstone and of the branches that transactions have made so far."""
    cancelled = {"TCC-Transaction-Id": "stranger"}
    assert programs.send("DELETE", program, f"/{collection}/tombstone", headers=cancelled).status == 204
    return [one["id"] for one in programs.read(program, f"/{collection}?limit=20")["items"]]


def _letter(programs: Programs, program: str) -> str:
    """Have a program keep a dead letter; return its id."""
    garbage = Message(TOPICS[program], b"\xff", b"\x80\x00", (("h", b"\xff"),))
    [failed] = programs.run(programs.broker.publisher().publish([garbage]))
    assert failed is None
    letters = eventually(lambda: programs.read(program, "/dead-letters")["items"], f"a letter of {program}")
    letter_id: str = letters[0]["letterId"]
    return letter_id


def instant(seconds: float = 60) -> str:
    """Return the instant so many seconds from now, as headers and messages have it."""
    return iso(SystemClock().now() + round(1000 * seconds))
