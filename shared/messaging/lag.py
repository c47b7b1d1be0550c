"""Consumer lag as a metric: what lies in a member's partitions and is not dealt with, by topic.

Each partition is told of by the one member that has it, so that the sum over a program's instances is the lag
of its group, and the sum over the topics that of the program.
"""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class LagCollector(Collector):
    """Asks for the lag, by topic, whenever the metrics are read."""

    def __init__(self, group: str, lag: Callable[[], Mapping[str, int]]) -> None:
        self._group = group
        self._lag = lag

    def describe(self) -> Iterable[Metric]:
        yield self._family()

    def collect(self) -> Iterable[Metric]:
        family = self._family()
        for topic, records in sorted(self._lag().items()):
            family.add_metric((self._group, topic), records)
        yield family

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(
            "handfast_consumer_lag_records",
            "Records in this member's partitions of a topic that are not dealt with yet.",
            labels=("group", "topic"),
        )
