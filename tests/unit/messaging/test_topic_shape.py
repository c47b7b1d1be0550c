"""What a topic is created with, and what is said of one that is there."""

import pytest

from shared.messaging.kafka_topic_shape import TopicShape

SHAPE = TopicShape(replicas=3, min_insync_replicas=2, retention_ms=1_000)


def test_a_topic_is_created_with_what_is_set() -> None:
    assert SHAPE.configs() == {
        "cleanup.policy": "delete",
        "min.insync.replicas": "2",
        "retention.ms": "1000",
        "segment.ms": "1000",
    }


def test_one_that_is_as_it_would_be_created_is_passed_over() -> None:
    assert SHAPE.differences(3, [3, 3, 3], {**SHAPE.configs(), "compression.type": "producer"}) == []


def test_what_is_not_told_is_no_difference() -> None:
    assert SHAPE.differences(3, [3, 3, 3], {}) == []


@pytest.mark.parametrize(
    ("there", "configs", "said"),
    [
        ([3], {}, "it has 1 partitions, HANDFAST_PARTITIONS says 3"),
        ([3, 1, 3], {}, "it has 1 replicas, HANDFAST_REPLICATION_FACTOR says 3"),
        ([3, 3, 3], {"retention.ms": "-1"}, "its retention.ms is -1, it would be created with 1000"),
        ([3, 3, 3], {"min.insync.replicas": "1"}, "its min.insync.replicas is 1, it would be created with 2"),
        ([3, 3, 3], {"cleanup.policy": "compact"}, "its cleanup.policy is compact"),
        (
            [3, 3, 3],
            {"compression.type": "zstd"},
            "its compression.type is zstd, which is not understood here",
        ),
    ],
)
def test_each_difference_is_said(there: list[int], configs: dict[str, str], said: str) -> None:
    (difference,) = SHAPE.differences(3, there, configs)
    assert difference.startswith(said)


def test_a_record_outlives_its_retention_by_a_week_at_most() -> None:
    """Brokers delete whole segments, and what outlives records counts on when they are gone."""
    month = 30 * 24 * 3_600_000
    assert TopicShape(retention_ms=month).configs()["segment.ms"] == str(7 * 24 * 3_600_000)
