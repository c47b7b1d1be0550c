"""What a topic is created with, and how one that is there differs from that. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

COMPARED: Final = ("retention.ms", "min.insync.replicas", "cleanup.policy", "compression.type")
"""The settings of a topic that are looked at."""
LONGEST_SEGMENT_MS: Final = 7 * 24 * 3_600_000
"""As brokers have it themselves."""
_READABLE: Final = ("producer", "gzip", "uncompressed")
"""What may become of a record's compression, so that every program here can read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicShape:
    """retention_ms: how long a record is kept at least; None: as long as the brokers say."""

    replicas: int = 1
    min_insync_replicas: int = 1
    retention_ms: int | None = None

    def configs(self) -> dict[str, str]:
        """Return the settings of a topic to be created, as brokers call them."""
        told = {"cleanup.policy": "delete", "min.insync.replicas": str(self.min_insync_replicas)}
        if self.retention_ms is not None:
            told["retention.ms"] = str(self.retention_ms)
            # Brokers delete whole segments, so that a record lives on until its segment is full or that old.
            told["segment.ms"] = str(min(self.retention_ms, LONGEST_SEGMENT_MS))
        return told

    def differences(
        self, partitions: int, there: Sequence[int], configs: Mapping[str, str | None]
    ) -> list[str]:
        """Return in words what is other than it would be created.

        partitions: how many there should be; there: the number of replicas of each; configs: its settings.
        """
        found = []
        if len(there) != partitions:
            found.append(f"it has {len(there)} partitions, HANDFAST_PARTITIONS says {partitions}")
        if fewer := [replicas for replicas in there if replicas < self.replicas]:
            found.append(f"it has {min(fewer)} replicas, HANDFAST_REPLICATION_FACTOR says {self.replicas}")
        for name, wanted in self.configs().items():
            if (value := configs.get(name)) not in (None, wanted):
                found.append(f"its {name} is {value}, it would be created with {wanted}")
        compression = configs.get("compression.type")
        if compression not in (None, *_READABLE):
            found.append(f"its compression.type is {compression}, which is not understood here")
        return found
