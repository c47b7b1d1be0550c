"""Apache Kafka that demands a user over TLS, or a certificate: who has neither is told what to do."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

import stock_service.app
from shared.database.port import Database
from shared.errors import Unreachable
from shared.messaging.kafka import KafkaBroker
from shared.messaging.kafka_access import KafkaAccess, UnusableFileError
from shared.migrations import upgrade
from shared.settings import Settings
from stock_service.settings import StockSettings
from tests.integration.messaging.world import World
from tests.kafka import PASSWORD, Kafka

pytestmark = pytest.mark.on_kafka


def access(settings: dict[str, Any]) -> KafkaAccess:
    chosen = Settings(_env_file=None, **settings)
    return chosen.kafka_access(chosen.bootstrap)


def certified(kafka: Kafka) -> dict[str, Any]:
    return {
        "kafka_bootstrap_servers": kafka.mutual,
        "kafka_security_protocol": "SSL",
        "kafka_ca_file": kafka.ca,
        "kafka_certificate_file": kafka.certificate,
        "kafka_key_file": kafka.key,
    }


@pytest.mark.parametrize("way", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "certificate"])
async def test_who_may_come_in_publishes_and_consumes(kafka: Kafka, store: Database, way: str) -> None:
    settings = certified(kafka) if way == "certificate" else kafka.guarded(way)
    w = World(access(settings), store)
    await w.open()
    try:
        w.consume()
        w.relay()
        await w.add(w.message(b"a"))
        await w.until(lambda: w.applied == [b"a"])
    finally:
        await w.close()


async def test_a_password_is_read_from_its_file_each_time(kafka: Kafka, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("yesterday's\n")
    settings = kafka.guarded() | {"kafka_sasl_password_file": file}
    del settings["kafka_sasl_password"]
    broker = KafkaBroker(access(settings))
    with pytest.raises(Unreachable, match="refuse the user 'handfast'"):
        await broker.ensure_topics({})
    file.write_text(f"{PASSWORD}\n")
    assert await broker.ensure_topics({}) == frozenset()
    file.unlink()
    await broker.close()
    with pytest.raises(UnusableFileError, match="HANDFAST_KAFKA_SASL_PASSWORD_FILE"):
        await broker.ensure_topics({})


def refusals(kafka: Kafka, directory: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """Return settings that don't get in, and a part of what is said about each."""
    stranger = directory / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    guarded = kafka.guarded()
    uncertified = {name: value for name, value in certified(kafka).items() if "key" not in name}
    del uncertified["kafka_certificate_file"]
    return {
        "password": (guarded | {"kafka_sasl_password": "wrong"}, "refuse the user 'handfast'"),
        "user": (guarded | {"kafka_sasl_username": "nobody"}, "refuse the user 'nobody'"),
        "authority": (guarded | {"kafka_ca_file": stranger}, "HANDFAST_KAFKA_CA_FILE must name"),
        "no authority": (guarded | {"kafka_ca_file": None}, "HANDFAST_KAFKA_CA_FILE must name"),
        "open": ({"kafka_bootstrap_servers": kafka.sasl}, "HANDFAST_KAFKA_SECURITY_PROTOCOL must say"),
        "no user": (
            certified(kafka) | {"kafka_bootstrap_servers": kafka.sasl},
            "HANDFAST_KAFKA_SECURITY_PROTOCOL must say",
        ),
        "no certificate": (uncertified, "HANDFAST_KAFKA_CERTIFICATE_FILE"),
        "guarded": (
            guarded | {"kafka_bootstrap_servers": kafka.bootstrap},
            "HANDFAST_KAFKA_SECURITY_PROTOCOL must say",
        ),
        "certificate": (
            certified(kafka) | {"kafka_certificate_file": kafka.ca},
            "HANDFAST_KAFKA_CERTIFICATE_FILE",
        ),
    }


CASES = (
    "password",
    "user",
    "authority",
    "no authority",
    "open",
    "no user",
    "no certificate",
    "guarded",
    "certificate",
)


@pytest.mark.parametrize("case", CASES)
async def test_whoever_may_not_is_told_what_to_do(
    kafka: Kafka, store: Database, tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings, said = refusals(kafka, tmp_path)[case]
    caplog.set_level(logging.DEBUG)
    w = World(access(settings), store)
    try:
        with pytest.raises((Unreachable, UnusableFileError)) as told:
            await w.keeper.ensure()
        assert said in told.value.detail
        publisher = w.broker.publisher()
        (failed,) = await publisher.publish([w.message(b"a")])
        assert said in str(failed)
        await w.database.start()
        consumer = w.consume()
        await w.until(lambda: said in (consumer.health() or ""))
    finally:
        await w.close()
    assert PASSWORD not in caplog.text


def test_all_of_them_are_tried(kafka: Kafka, tmp_path: Path) -> None:
    assert set(refusals(kafka, tmp_path)) == set(CASES)


async def test_a_user_without_rights_is_told_which_topic_is_missing(kafka: Kafka, store: Database) -> None:
    w = World(access(kafka.guarded() | {"kafka_sasl_username": "stranger"}), store)
    with pytest.raises(Unreachable, match=f"{w.topic} is missing and can't be created: TopicAuthorization"):
        await w.keeper.ensure()
    await w.broker.close()


async def test_readiness_says_why_and_no_log_has_the_password(
    kafka: Kafka, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    guarded: dict[str, Any] = {**kafka.guarded(), "kafka_sasl_username": "nobody"}
    settings = StockSettings(_env_file=None, data_dir=tmp_path, **guarded)
    await asyncio.to_thread(upgrade, tmp_path / "stock.db", "stock")
    api = stock_service.app.create_app(settings)
    transport = httpx.ASGITransport(api)
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=transport, base_url="http://stock.test") as client,
        asyncio.timeout(60),
    ):
        while "refuse the user 'nobody'" not in (answer := await client.get("/readyz")).text:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert answer.status_code == 503
    assert "refuse the user 'nobody'" in caplog.text
    assert PASSWORD not in caplog.text + answer.text + repr(settings)
