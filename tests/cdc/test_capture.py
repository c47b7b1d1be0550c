"""Confirmations and outcomes travel by Debezium alone, and outlive it; dead letters travel by the relay."""

import asyncio
from typing import Any, Final

import aiokafka
import httpx
import pytest

from cli.api import Api
from shared.settings import PORTS
from tests.cdc.conftest import CONNECTOR, Captured
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.at_length

EVENT: Final = ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "traceparent"]
TOPICS: Final = ("stock-adjustment", "payment-capture", "order-confirmation", "tcc-outcomes")


def place(captured: Captured, order_id: str) -> str:
    body = {"orderId": order_id, "productId": "1", "qty": 1, "paymentAmt": 5}
    with Api(captured.settings) as api:
        answer: Any = api.send("POST", "order", "/orders", body).body
    return str(answer["status"])


def status(captured: Captured, order_id: str) -> str:
    with Api(captured.settings) as api:
        return str(api.get("order", f"/orders/{order_id}")["status"])


def records(captured: Captured, *topics: str) -> list[Any]:
    """Read everything that the topics, which are there, have."""

    async def read() -> list[Any]:
        reader = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=captured.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
        )
        await reader.start()
        try:
            places = [
                aiokafka.TopicPartition(topic, number)
                for topic in topics
                for number in range(captured.settings.partitions)
            ]
            reader.assign(places)
            most = sum((await reader.end_offsets(places)).values())
            found: list[Any] = []
            async with asyncio.timeout(30):
                while len(found) < most:
                    for batch in (await reader.getmany(timeout_ms=200)).values():
                        found += batch
            return found
        finally:
            await reader.stop()

    return asyncio.run(read())


def relayed(captured: Captured) -> float:
    """Return how many messages the programs have published themselves."""
    settings = captured.settings
    total = 0.0
    for program in PORTS:
        page = httpx.get(f"{settings.url(program)}/metrics", trust_env=False).text
        (line,) = (line for line in page.splitlines() if line.startswith("handfast_outbox_published_total "))
        total += float(line.split()[1])
    return total


def rows(captured: Captured) -> int:
    """Return how many rows the outboxes have."""
    return sum(len(captured.database.execute(f"TABLE handfast_{program}.outbox")) for program in PORTS)


def test_an_order_is_confirmed_by_what_is_captured_alone(captured: Captured) -> None:
    before = relayed(captured)
    assert place(captured, "captured") in ("CONFIRMING", "CONFIRMED")
    eventually(lambda: status(captured, "captured") == "CONFIRMED", "the order is confirmed")
    assert (relayed(captured), rows(captured)) == (before, 0)
    found = records(captured, *TOPICS)
    assert {record.topic for record in found} == set(TOPICS)
    for record in found:
        assert [name for name, _ in record.headers] == EVENT, record
        headers = dict(record.headers)
        assert headers["ce_specversion"] == b"1.0"
        assert headers["traceparent"].startswith(b"00-")
        assert record.key
        assert record.value.startswith(b"{"), "what the row has, not wrapped into anything"


def test_a_dead_letter_keeps_the_headers_that_no_column_has(captured: Captured) -> None:
    async def publish() -> None:
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=captured.bootstrap)
        await producer.start()
        try:
            await producer.send_and_wait(TOPICS[0], b"not JSON", b"key", headers=[("foreign", b"\xff\x00")])
        finally:
            await producer.stop()

    before = relayed(captured)
    asyncio.run(publish())
    eventually(lambda: relayed(captured) > before, "the dead letter is published")
    (letter,) = records(captured, f"dlt-{TOPICS[0]}")
    headers = dict(letter.headers)
    assert headers["foreign"] == b"\xff\x00"
    assert headers["kafka_dlt-original-topic"] == TOPICS[0].encode()
    assert int.from_bytes(headers["kafka_dlt-original-offset"], "big") >= 0
    assert relayed(captured) == before + 1


def test_what_is_decided_while_debezium_is_away_is_published_when_it_is_back(captured: Captured) -> None:
    captured.connect.kill()
    assert place(captured, "waiting") == "CONFIRMING"
    eventually(lambda: _not_ready(captured, "Nobody reads the replication slot"), "readiness tells")
    assert status(captured, "waiting") == "CONFIRMING"
    captured.connect.start()
    eventually(lambda: status(captured, "waiting") == "CONFIRMED", "the order is confirmed")
    eventually(lambda: not _not_ready(captured, ""), "the stack is ready again")


def test_a_slot_that_is_lost_loses_no_order(captured: Captured) -> None:
    captured.connect.kill()
    drop = "SELECT pg_drop_replication_slot('handfast_outbox')"
    eventually(lambda: _is_idle(captured), "the slot is nobody's")
    captured.database.execute(drop)
    # Nobody will ever read what is written now.
    assert place(captured, "lost") == "CONFIRMING"
    captured.connect.start()
    eventually(lambda: captured.connect.states(CONNECTOR) == ["RUNNING"] * 2, "the connector runs")
    eventually(lambda: status(captured, "lost") == "CONFIRMED", "it is published again, and confirmed")


def _is_idle(captured: Captured) -> bool:
    found = captured.database.execute("SELECT active FROM pg_replication_slots")
    return [row[0] for row in found] == [False]


def _not_ready(captured: Captured, why: str) -> bool:
    answer = httpx.get(f"{captured.settings.url('coordinator')}/readyz", trust_env=False)
    return answer.status_code == 503 and why in answer.text
