"""The record that tells of a dead letter: `dlt-<topic>`, with the headers that Spring Kafka would have set.

Names and encodings are those of its DeadLetterPublishingRecoverer: partition int32, offset and timestamp
int64, all big-endian; the rest UTF-8. Three headers of our own name the letter and its counters, in decimal
digits.
"""

from typing import Final

from shared.messaging.broker import Headers, Message, Record
from shared.messaging.failure import Failure
from shared.messaging.letters import (
    ATTEMPTS_HEADER,
    LETTER_ID_HEADER,
    REPLAYS_HEADER,
    DeadLetter,
    original_headers,
)
from shared.messaging.topics import dead_letter_topic

TIMESTAMP_TYPES: Final = {0: "CreateTime", 1: "LogAppendTime"}


def dead_letter_message(record: Record, letter: DeadLetter, failure: Failure) -> Message:
    """Return what is published about a record that could not be applied: same partition, headers kept."""
    headers = (
        *original_headers(record.headers),
        *_spring_headers(record, letter.consumer_group, failure),
        (LETTER_ID_HEADER, letter.id.encode()),
        (ATTEMPTS_HEADER, b"%d" % letter.attempts),
        (REPLAYS_HEADER, b"%d" % letter.replays),
    )
    topic = dead_letter_topic(record.topic)
    return Message(topic, record.key, record.value, headers, record.partition)


def replay_message(letter: DeadLetter, replays: int) -> Message:
    """Return a letter's record for its original topic and partition, marked as a replay."""
    headers = (
        *letter.headers,
        (LETTER_ID_HEADER, letter.id.encode()),
        (REPLAYS_HEADER, b"%d" % replays),
    )
    return Message(letter.topic, letter.key, letter.value, headers, letter.partition)


def _spring_headers(record: Record, group: str, failure: Failure) -> Headers:
    return (
        ("kafka_dlt-original-topic", record.topic.encode()),
        ("kafka_dlt-original-partition", record.partition.to_bytes(4, "big", signed=True)),
        ("kafka_dlt-original-offset", record.offset.to_bytes(8, "big", signed=True)),
        ("kafka_dlt-original-timestamp", record.timestamp.to_bytes(8, "big", signed=True)),
        (
            "kafka_dlt-original-timestamp-type",
            TIMESTAMP_TYPES.get(record.timestamp_type, "NoTimestampType").encode(),
        ),
        ("kafka_dlt-original-consumer-group", group.encode()),
        ("kafka_dlt-exception-fqcn", failure.type.encode()),
        ("kafka_dlt-exception-cause-fqcn", failure.cause.encode()),
        ("kafka_dlt-exception-message", failure.message.encode()),
        ("kafka_dlt-exception-stacktrace", failure.stack_trace.encode()),
    )
