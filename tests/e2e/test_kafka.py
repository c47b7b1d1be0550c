"""The whole stack on an Apache Kafka that demands a user over TLS, set up as a site would do it."""

import asyncio
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from cli.api import Api
from cli.stack import own_stack
from tests.e2e.waiting import eventually
from tests.kafka import PASSWORD, Kafka

pytestmark = pytest.mark.on_kafka

ORDERS = 20


async def configs(kafka: Kafka, topic: str) -> dict[str, str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        ((_, _, _, _, entries),) = answer.resources
        return {name: value for name, value, *_ in entries}
    finally:
        await admin.close()


def test_orders_go_through_by_sasl_and_tls_and_the_password_is_nowhere(kafka: Kafka, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text(f"{PASSWORD}\n")
    told = kafka.guarded() | {"kafka_sasl_password_file": str(secret), "topic_retention_hours": "24"}
    del told["kafka_sasl_password"]
    environment = {f"HANDFAST_{name.upper()}": value for name, value in told.items()}
    environment |= {"HANDFAST_LOG_LEVEL": "DEBUG", "HANDFAST_KAFKA_COMPRESSION": "gzip"}
    data = tmp_path / "data"
    with own_stack(data_dir=data, environment=environment) as stack, Api(stack.settings) as api:
        assert "broker" not in stack.processes()
        for number in range(ORDERS):
            body = {"orderId": f"o{number}", "productId": "1", "qty": 1, "paymentAmt": 5}
            api.send("POST", "order", "/orders", body)
        for number in range(ORDERS):

            def confirmed(number: int = number) -> bool:
                return bool(api.get("order", f"/orders/o{number}")["status"] == "CONFIRMED")

            eventually(confirmed, "the order is confirmed")
        output = "\n".join(stack.output)
    created = asyncio.run(configs(kafka, "stock-adjustment"))
    assert created["retention.ms"] == str(24 * 3_600_000)
    assert created["min.insync.replicas"] == "1"
    logs = "\n".join(log.read_text(errors="replace") for log in (data / "logs").iterdir())
    assert PASSWORD not in logs + output
    assert "stock-adjustment/0" in logs, "the logs are those that were meant"
