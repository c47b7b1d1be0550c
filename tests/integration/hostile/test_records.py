"""Garbage on every topic of the real broker: one letter each, and the good records around it are applied.

The four programs run on the embedded broker. Each bad record is published between good ones, on the same
partition; what comes of it is read where a user would look: GET /api/v1/dead-letters, and `dlt-<topic>`.
"""

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.backing import Backing
from tests.e2e.waiting import eventually
from tests.integration.conftest import EmbeddedBroker
from tests.integration.hostile.bad_records import Bad, bad_records, without
from tests.integration.hostile.programs import Programs, running
from tests.integration.hostile.seeds import TOPICS, instant
from tests.integration.hostile.topic import PARTITIONS, Topic
from tests.ports import free_port


@pytest.fixture(scope="module")
def kafka() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(free_port())
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@pytest.fixture(scope="module")
def shop(kafka: EmbeddedBroker, backing: Backing) -> Iterator[Programs]:
    with running(backing, kafka.bootstrap, retry="fixed:50ms,3", sweep_seconds=0.2) as programs:
        for program in TOPICS:

            def ready(program: str = program) -> bool:
                return programs.send("GET", program, "//readyz").status == 200

            eventually(ready, f"{program} is ready", 60)
        programs.send("PUT", "stock", "/products/p", {"onHand": 1_000})
        programs.send("PUT", "payment", "/accounts/c", {"balance": 1_000})
        yield programs


def confirm(**fields: Any) -> bytes:
    return json.dumps({"decision": "confirm", "decidedAt": instant(), **fields}).encode()


PARTICIPANTS: Final = [
    ("stock", "/stocks", {"productId": "p", "qty": 1}),
    ("payment", "/payments", {"customerId": "c", "paymentAmt": 1}),
]


@pytest.mark.parametrize(("program", "path", "claim"), PARTICIPANTS, ids=["stock", "payment"])
def test_bad_confirms_get_a_letter_each_and_the_good_ones_around_them_are_applied(
    shop: Programs, kafka: EmbeddedBroker, program: str, path: str, claim: dict[str, Any]
) -> None:
    topic = Topic(shop, kafka, program)
    tcc = {
        "TCC-Transaction-Id": "tx-owner",
        "TCC-Branch-Id": f"owned-{program}",
        "TCC-Deadline": instant(3_600),
    }
    assert shop.send("POST", program, path, claim, tcc).status == 201
    bad = bad_records(
        {"transactionId": "t", "reservationId": "r", "decision": "confirm", "decidedAt": instant()}
    )
    bad += [
        Bad("decision cancel", confirm(reservationId="r1", decision="cancel")),
        Bad("unknown reservation", confirm(reservationId="nobodys"), "NotFound"),
        Bad(
            "unknown transaction", confirm(reservationId="nobodys-2", transactionId="tx-nobodys"), "NotFound"
        ),
        Bad(
            "wrong transaction", confirm(reservationId=f"owned-{program}", transactionId="other"), "Conflict"
        ),
    ]
    good = [
        shop.send("POST", program, path, {**claim, "seconds": 3_600}).json()["id"]
        for _ in range(2 * len(bad))
    ]
    mixed = []
    for number, one in enumerate(bad):
        ahead, behind = good[2 * number], good[2 * number + 1]
        partition = number % PARTITIONS
        mixed += [
            (partition, Bad("", confirm(reservationId=ahead), key=None)),
            (partition, one),
            (
                partition,
                Bad("", confirm(reservationId=behind), headers=(("ce_id", None), ("traceparent", b"\xff"))),
            ),
        ]
    topic.publish(mixed)
    _check_letters(topic, bad)

    def states() -> set[str]:
        return {shop.read(program, f"{path}/{one}")["state"] for one in good}

    eventually(lambda: states() == {"CONFIRMED"}, "every good Confirm is applied")
    # The one that belongs to somebody else is as it was; nobody is told of it but by its letter.
    assert shop.read(program, f"{path}/owned-{program}")["state"] == "TRIED"
    assert shop.read("coordinator", "/dead-letters?topic=tcc-outcomes")["items"] == []


def test_bad_order_confirmations_get_a_letter_each_and_orders_go_on(
    shop: Programs, kafka: EmbeddedBroker
) -> None:
    topic = Topic(shop, kafka, "order")
    bad = bad_records(
        {"transactionId": "t", "reservationId": "r", "decision": "confirm", "decidedAt": instant()}
    )
    bad += [Bad("unknown reservation", confirm(reservationId="nobodys", transactionId="tx-n"), "NotFound")]
    body = {"customerId": "c", "productId": "p", "qty": 1, "paymentAmt": 1}
    placed_at = [(number % PARTITIONS, one) for number, one in enumerate(bad)]
    for half in (placed_at[::2], placed_at[1::2]):
        topic.publish(half)
        placed = shop.send("POST", "order", "/orders", body, {"Prefer": "wait=20"})
        assert (placed.status, placed.json()["status"]) == (201, "CONFIRMED")
    _check_letters(topic, bad)


def test_bad_outcomes_get_a_letter_each_and_transactions_go_on(shop: Programs, kafka: EmbeddedBroker) -> None:
    body = {"orderId": "outcomes", "customerId": "c", "productId": "p", "qty": 1, "paymentAmt": 1}
    held = {"mode": "manual", "timeoutSeconds": 3_600, "transactionId": "open"}
    claim = {"participant": "stock", "claim": {"productId": "p", "qty": 1}}
    opened = shop.send("POST", "coordinator", "/transactions", {**held, "branches": [claim]}).json()
    topic = Topic(shop, kafka, "coordinator")
    outcome = {"transactionId": "t", "branchId": "b", "outcome": "confirmed", "at": instant()}

    def told(**fields: Any) -> bytes:
        return json.dumps({**outcome, **fields}).encode()

    bad = [*bad_records(outcome), Bad("without transactionId", without(outcome, "transactionId"))]
    bad += [
        Bad("transactionId null", told(transactionId=None)),
        Bad("outcome unheard-of", told(outcome="done")),
        Bad("reason a number", told(reason=1)),
        Bad("unknown transaction", told(transactionId="nobodys", branchId="b1"), "UnknownBranch"),
        Bad("unknown branch", told(transactionId="open", branchId="b2"), "UnknownBranch"),
    ]
    placed_at = [(number % PARTITIONS, one) for number, one in enumerate(bad)]
    for half in (placed_at[::2], placed_at[1::2]):
        topic.publish(half)
        placed = shop.send("POST", "order", "/orders", {**body, "orderId": None}, {"Prefer": "wait=20"})
        assert (placed.status, placed.json()["status"]) == (201, "CONFIRMED")
    _check_letters(topic, bad)
    # What is right but too early, or too late, changes nothing either.
    early = told(transactionId="open", branchId=opened["branches"][0]["branchId"])
    topic.publish([(0, Bad("", early)), (0, Bad("", early)), (0, Bad("", told(outcome="dead-lettered")))])
    eventually(lambda: topic.lag() == 0, "they are taken in")
    assert shop.read("coordinator", "/transactions/open")["state"] == "TRIED"
    assert len(topic.new_letters()) == len(bad)


def test_a_bad_record_that_comes_again_raises_its_letters_counters(
    shop: Programs, kafka: EmbeddedBroker
) -> None:
    topic = Topic(shop, kafka, "stock")
    topic.publish([(1, Bad("", b"the same \xff"))] * 3)
    eventually(lambda: topic.lag() == 0, "they are taken in")
    [letter] = topic.new_letters()
    assert (letter["attempts"], letter["replays"], letter["state"]) == (3, 0, "OPEN")
    path = f"/dead-letters/{letter['letterId']}"
    assert shop.send("POST", "stock", f"{path}/replays", {"who": "me"}).status == 202
    eventually(lambda: shop.read("stock", path)["attempts"] == 4, "its replay fails like the others")
    again = shop.read("stock", path)
    assert (again["replays"], again["state"], again["value"]) == (1, "OPEN", letter["value"])
    assert len(topic.new_letters()) == 1
    eventually(lambda: len(topic.dead_records()) == topic.dead_before + 4, "each failure is published")


def test_large_letters_make_short_pages(shop: Programs, kafka: EmbeddedBroker) -> None:
    topic = Topic(shop, kafka, "stock")
    topic.publish([(2, Bad("", b"%d" % number + b"x" * 500_000)) for number in range(6)])
    eventually(lambda: topic.lag() == 0, "they are taken in")
    page = shop.send("GET", "stock", "/dead-letters?limit=500&redact=false")
    assert len(page.body) < 2_000_000
    assert page.json()["nextCursor"] is not None
    assert len(topic.new_letters()) == 6


def _check_letters(topic: Topic, bad: list[Bad]) -> None:
    """Each bad record has exactly one letter and one record on the dead letters' topic, both complete."""

    def all_there() -> bool:
        return len(topic.new_letters()) >= len(bad) and topic.lag() == 0

    eventually(all_there, f"{len(bad)} letters of {topic.name}", 60)
    letters = topic.new_letters()
    by_content = {(_bytes(one["key"], one), _bytes(one["value"], one, "value")): one for one in letters}
    assert len(letters) == len(by_content) == len(bad)

    def published() -> bool:
        return len(topic.dead_records()) - topic.dead_before >= len(bad)

    eventually(published, f"they are published on dlt-{topic.name}", 60)
    dead = {(one.key, one.value): one for one in topic.dead_records()[topic.dead_before :]}
    for number, one in enumerate(bad):
        letter, record = by_content[one.key, one.value], dead[one.key, one.value]
        _check_letter(topic, one, letter, number % PARTITIONS)
        _check_record(topic, one, letter, record)
    assert topic.programs.send("GET", topic.program, "//readyz").status == 200


def _check_letter(topic: Topic, one: Bad, letter: dict[str, Any], partition: int) -> None:
    assert (letter["topic"], letter["partition"], letter["state"]) == (topic.name, partition, "OPEN"), (
        one.name
    )
    assert (letter["attempts"], letter["replays"]) == (1, 0), one.name
    assert one.why in letter["exception"]["type"], (one.name, letter["exception"])
    assert letter["consumerGroup"] == f"handfast-{topic.program}"
    detailed = topic.programs.read(topic.program, f"/dead-letters/{letter['letterId']}")
    assert one.why in detailed["stackTrace"], one.name
    assert "hunter2" not in detailed["stackTrace"] + letter["exception"]["message"]


def _check_record(topic: Topic, one: Bad, letter: dict[str, Any], record: Any) -> None:
    assert record.partition == letter["partition"], one.name
    # A header without a value is one with an empty value to whoever reads it as bytes.
    kept = [(name, value or b"") for name, value in one.headers if not name.startswith("handfast-")]
    assert [(name, value) for name, value in record.headers[: len(kept)]] == kept, one.name
    added = dict(record.headers[len(kept) :])
    assert added["kafka_dlt-original-topic"] == topic.name.encode()
    assert struct.unpack(">i", added["kafka_dlt-original-partition"]) == (letter["partition"],)
    assert struct.unpack(">q", added["kafka_dlt-original-offset"]) == (letter["offset"],)
    assert struct.unpack(">q", added["kafka_dlt-original-timestamp"])[0] > 1_600_000_000_000
    assert added["kafka_dlt-original-timestamp-type"] in (b"CreateTime", b"LogAppendTime")
    assert added["kafka_dlt-original-consumer-group"] == f"handfast-{topic.program}".encode()
    assert added["kafka_dlt-exception-fqcn"].decode() == letter["exception"]["type"]
    assert added["kafka_dlt-exception-cause-fqcn"].decode() == letter["exception"]["cause"]
    assert added["kafka_dlt-exception-message"].decode() == letter["exception"]["message"]
    assert len(added["kafka_dlt-exception-message"]) <= 4_000
    assert one.why.encode() in added["kafka_dlt-exception-stacktrace"], one.name
    assert added["handfast-letter-id"].decode() == letter["letterId"]
    assert (added["handfast-attempts"], added["handfast-replays"]) == (b"1", b"0")


def _bytes(text: str | None, letter: dict[str, Any], part: str = "key") -> bytes | None:
    if text is None:
        return None
    encoded = letter.get(f"{part}Encoding") == "base64"
    return base64.b64decode(text) if encoded else text.encode()
