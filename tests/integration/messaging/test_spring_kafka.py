"""Spring Kafka reads our dead letters: by its own names for the headers, in its own encodings."""

import asyncio
import subprocess

import pytest

from shared.database.port import Database
from shared.errors import Transient
from tests.integration.messaging.world import PARTITIONS, world
from tests.kafka import Kafka
from tests.maven import READER, class_path, java

pytestmark = pytest.mark.on_kafka

Lines = dict[str, str]


async def read(bootstrap: str, topic: str) -> tuple[Lines, Lines]:
    """Return what the program understood of a dead letter, and the headers that Spring would have set."""
    command = [java(), "-cp", class_path(), str(READER), bootstrap, topic, str(PARTITIONS)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    understood = {name: value for kind, name, value in lines if kind == "read"}
    return understood, {name: value for kind, name, value in lines if kind == "spring"}


async def test_spring_kafka_reads_our_dead_letters(kafka: Kafka, store: Database) -> None:
    async with world(kafka.bootstrap, store) as w:
        w.verdict = lambda _record: Transient("the product is frozen")
        await w.publish(w.message(b"passed over", partition=1), w.message(b"bad", partition=2))
        w.relay()
        w.consume("fixed:20ms,1")
        topic = f"dlt-{w.topic}"
        published = {record.value: record for record in await w.read_topic(topic, 2)}
        originals = {record.value: record for record in await w.read_topic(w.topic, 2)}
        understood, spring = await read(kafka.bootstrap, topic)

        partition = int(understood["partition"])
        value = {1: b"passed over", 2: b"bad"}[partition]
        ours = dict(published[value].headers)
        assert understood == {
            "topic": w.topic,
            "partition": str(partition),
            "offset": "0",
            "timestamp": str(originals[value].timestamp),
            "timestamp-type": "CreateTime",
            "consumer-group": w.group,
            "exception-fqcn": "shared.errors.Transient",
            "exception-cause-fqcn": ours["kafka_dlt-exception-cause-fqcn"].decode(),
            "exception-message": "the product is frozen",
            "exception-stacktrace": understood["exception-stacktrace"],
            "letter-partition": str(partition),
        }
        assert int(understood["exception-stacktrace"]) > 0
        # Of the same record, Spring's own recoverer sets the same headers, and these to the same bytes.
        assert spring.keys() == {name for name in ours if name.startswith("kafka_dlt-")}
        for name in ("topic", "partition", "offset", "timestamp", "timestamp-type", "consumer-group"):
            header = f"kafka_dlt-original-{name}"
            assert ours[header].hex() == spring[header], header
