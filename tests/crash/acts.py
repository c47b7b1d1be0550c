"""What customers and operators do while a process is killed, and what is proven afterwards.

An act plays before and during the kill, an aftermath once the process may come back; a proof returns what is
wrong. Each is told the case's name, which is its order's id too.
"""

import asyncio
from typing import Any, Final

import aiokafka

from shared.clock import SystemClock, iso
from tests.crash.points import Wait
from tests.crash.scene import scene_of, transaction_of
from tests.crash.stage import Stage
from tests.customers import Answer, UncertainError
from tests.e2e.waiting import until
from tests.invariants import Promise

HOLD_SECONDS: Final = 60
MANY: Final = 8
"""Orders that make a batch."""
REPLAY_ALL: Final = ("dlt", "replay", "--all", "--yes", "--rate", "10")
"""So slowly that every letter has a request of its own, and the command can be killed between two."""


def wish(order_id: str, product: str = "1") -> dict[str, Any]:
    return {"orderId": order_id, "productId": product, "qty": 1, "paymentAmt": 5}


def several(name: str, count: int) -> list[str]:
    """Return the ids of a case's orders; the first is the case's name."""
    return [name, *(f"{name}-{number}" for number in range(2, count + 1))]


# ---- acts


async def buy(stage: Stage, name: str) -> None:
    """Place an order, and again as long as the answer is not certain."""
    await stage.customers.place(wish(name))


async def ask_once(stage: Stage, name: str) -> None:
    """Place an order and never come back, whatever is answered."""
    stage.customers.promises[name] = Promise.TAKEN
    try:
        answer = await stage.customers.ask("POST", "order", "/orders", wish(name))
    except UncertainError:
        return
    raise AssertionError(f"the order service was to die, and answered {answer}")


async def buy_without_an_account(stage: Stage, name: str) -> None:
    """Order what the payment refuses at once, while the stock's Try has not arrived."""
    await stage.customers.place(wish(name) | {"customerId": "nobody"})


async def hold_and_forget(stage: Stage, name: str) -> None:
    answer = await stage.customers.place(wish(name) | {"hold": {"seconds": 2}})
    assert answer.body["status"] == "HELD", answer


async def hold_and_pay(stage: Stage, name: str) -> None:
    await stage.customers.place(wish(name) | {"hold": {"seconds": HOLD_SECONDS}})
    await pay(stage, name)


async def pay(stage: Stage, order_id: str) -> None:
    answer = await stage.customers.insist("PUT", "order", f"/orders/{order_id}")
    assert answer.status == 200, answer
    stage.customers.told(order_id, Promise.KEPT, answer)


async def pay_for_what_is_frozen(stage: Stage, name: str) -> None:
    """Hold, then freeze the product and pay: its Confirm becomes a dead letter."""
    await _pay_frozen(stage, name, 1)


async def replay_three(stage: Stage, name: str) -> None:
    """Have three dead letters, thaw the product and have all replayed by a command."""
    await _pay_frozen(stage, name, 3)

    async def are_open() -> bool:
        scene = await scene_of(stage.stack.settings, None)
        return scene["stock open letters"] == "3"

    await until(are_open, "three dead letters are open")
    await _freeze(stage, name, frozen=False)
    stage.start_command(*REPLAY_ALL)


async def buy_at_an_effects_participant(stage: Stage, name: str) -> None:
    """Begin a transaction over the toy, whose effect is outside, and the stock."""
    body = {
        "transactionId": name,
        "branches": [
            {"participant": "toy", "claim": {"name": "bear", "count": 2}},
            {"participant": "stock", "claim": {"productId": "1", "qty": 1}},
        ],
    }
    answer = await stage.customers.insist("POST", "coordinator", "/transactions", body)
    assert answer.status in (200, 201), answer


async def buy_many_while_members_change(stage: Stage, name: str) -> None:
    """Let Confirms gather into a batch; while the stock service has it at hand, a second member joins."""
    stage.make_wait(Wait.COORDINATOR_PUBLISHES)
    stage.make_wait(Wait.STOCK_CONFIRMS)
    for order_id in several(name, MANY):
        await stage.customers.insist("PUT", "stock", f"/products/{order_id}", {"onHand": 10})
    await asyncio.gather(
        *(stage.customers.place(wish(order_id, order_id)) for order_id in several(name, MANY))
    )
    stage.let_pass(Wait.COORDINATOR_PUBLISHES)
    await stage.until_waiting(Wait.STOCK_CONFIRMS)
    stage.start_second_stock()


# ---- aftermaths


async def let_pass(stage: Stage, _name: str) -> None:
    """Let go on who was made to wait."""
    stage.let_pass()


async def let_pass_too_late(stage: Stage, name: str) -> None:
    """Have the order resolved by those who sweep; only then does the request for its transaction arrive."""

    async def is_cancelled() -> bool:
        order = await stage.read("order", f"/orders/{name}")
        return bool(order["status"] == "CANCELLED")

    await until(is_cancelled, "the sweeper has resolved the order", 60)
    stage.let_pass()


async def thaw_and_replay_what_came_again(stage: Stage, name: str) -> None:
    """See the record fail once more into the same letter, then have it replayed."""

    async def came_again() -> bool:
        [letter] = await _letters(stage, name)
        # Four deliveries make a letter, and its record was not committed.
        return bool(letter["attempts"] >= 8)

    await until(came_again, "the record came again", 60)
    await _thaw_and_replay(stage, name)


async def thaw_and_replay_what_was_published(stage: Stage, name: str) -> None:
    """See the letter's record on its dlt- topic, then have it replayed."""
    [letter] = await _letters(stage, name)

    async def is_published() -> bool:
        return letter["letterId"] in await _published_letters(stage)

    await until(is_published, "the letter is published", 60)
    await _thaw_and_replay(stage, name)


async def replay_again(stage: Stage, _name: str) -> None:
    """Run the command again that was cut short."""
    assert await stage.run_command(*REPLAY_ALL) == 0


# ---- proofs


async def late_try_is_refused(stage: Stage, name: str) -> list[str]:
    """Deliver the Try that came too late."""
    transaction_id = await transaction_of(stage.stack.settings, name)
    transaction = await stage.read("coordinator", f"/transactions/{transaction_id}")
    [branch] = [one["branchId"] for one in transaction["branches"] if one["participant"] == "stock"]
    claim = {"items": [{"productId": "1", "qty": 1}], "customerId": "nobody", "orderId": name}
    answer = await stage.customers.insist(
        "POST",
        "stock",
        "/stocks",
        claim,
        TCC_Transaction_Id=str(transaction_id),
        TCC_Branch_Id=branch,
        TCC_Deadline=iso(SystemClock().now() + 30_000),
    )
    return _unless(answer.slug == "cancelled-before-try", f"the late Try was answered {answer}")


async def late_transaction_is_refused(stage: Stage, name: str) -> list[str]:
    """The request that arrived after the inquiry had cancelled its id was told so."""
    answer: Answer = stage.customers.wishes[name].answer
    return _unless(answer.slug == "order-cancelled", f"the late request was answered {answer}")


async def one_letter(stage: Stage, name: str) -> list[str]:
    letters = await _letters(stage, name)
    return _unless(len(letters) == 1, f"there are {len(letters)} letters")


async def one_replay_each(stage: Stage, name: str) -> list[str]:
    """Nothing was replayed twice because the command was run twice."""
    letters = [letter for order_id in several(name, 3) for letter in await _letters(stage, order_id)]
    replays = [letter["replays"] for letter in letters]
    return _unless(replays == [1, 1, 1], f"the letters were replayed {replays} times")


async def one_effect_outside(stage: Stage, _name: str) -> list[str]:
    """The gateway did everything once, and was asked before anything was tried again."""
    gateway = stage.gateway
    tries = [call for call in gateway.calls if call.endswith(":try")]
    performed = [call for call in tries if call.startswith("perform")]
    looked_up = [call for call in tries if call.startswith("look up")]
    # What was performed, in units of the cases that came so far: two each.
    cases = len({call.rpartition(" ")[2] for call in tries})
    return [
        *_unless(len(performed) == cases and len(looked_up) >= cases, f"the gateway was called: {tries}"),
        *_unless((gateway.held, gateway.kept) == (0, 2 * cases), f"it keeps {gateway.held}, {gateway.kept}"),
    ]


async def second_member_leaves(stage: Stage, _name: str) -> list[str]:
    """The other member, which nothing happened to, leaves cleanly."""
    code = await stage.end("second stock")
    return _unless(code == 0, f"the second member ended with {code}")


async def nothing_more(_stage: Stage, _name: str) -> list[str]:
    return []


# ---- helpers


async def _pay_frozen(stage: Stage, name: str, count: int) -> None:
    await stage.customers.insist("PUT", "stock", f"/products/{name}", {"onHand": 10})
    for order_id in several(name, count):
        body = wish(order_id, name) | {"hold": {"seconds": HOLD_SECONDS}}
        answer = await stage.customers.place(body)
        assert answer.body["status"] == "HELD", answer
    await _freeze(stage, name, frozen=True)
    for order_id in several(name, count):
        await pay(stage, order_id)


async def _freeze(stage: Stage, product: str, *, frozen: bool) -> None:
    await stage.customers.insist("PUT", "stock", f"/products/{product}", {"frozen": frozen})


async def _thaw_and_replay(stage: Stage, name: str) -> None:
    await _freeze(stage, name, frozen=False)
    assert await stage.run_command(*REPLAY_ALL) == 0


async def _letters(stage: Stage, order_id: str) -> list[dict[str, Any]]:
    """Return the dead letters of an order's transaction at the stock service."""
    transaction_id = await transaction_of(stage.stack.settings, order_id)
    page = await stage.read("stock", "/dead-letters?limit=500")
    return [letter for letter in page["items"] if letter["transactionId"] == transaction_id]


async def _published_letters(stage: Stage) -> set[str]:
    """Return the ids of the letters on dlt-stock-adjustment."""
    reader = aiokafka.AIOKafkaConsumer(bootstrap_servers=stage.stack.settings.bootstrap)
    await reader.start()
    try:
        topic = "dlt-stock-adjustment"
        numbers = reader.partitions_for_topic(topic) or await _partitions(reader, topic)
        places = [aiokafka.TopicPartition(topic, number) for number in numbers]
        if not places:
            return set()
        reader.assign(places)
        for place in places:
            reader.seek(place, 0)
        left = sum((await reader.end_offsets(places)).values())
        found: set[str] = set()
        while left > 0:
            for records in (await reader.getmany(timeout_ms=200)).values():
                left -= len(records)
                found |= {dict(record.headers)["handfast-letter-id"].decode() for record in records}
        return found
    finally:
        await reader.stop()


async def _partitions(reader: Any, topic: str) -> set[int]:
    return set() if topic not in await reader.topics() else reader.partitions_for_topic(topic) or set()


def _unless(true: bool, wrong: str) -> list[str]:
    return [] if true else [wrong]
