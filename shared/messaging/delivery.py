"""What a consumer knows of one partition: which records still wait to be applied, and when each is due again.

Records are applied in any order, for confirmations commute; but only the offsets before the first record that
still waits may be committed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.messaging.broker import Record


@dataclass(slots=True, eq=False)
class Delivery:
    """A record on its way to being applied.

    due: the loop's time from which on it may be attempted; attempts: failures that count for its retries
    (reset where a letter could not be stored); failures: all of them.
    """

    record: Record
    partition: "PartitionState"
    due: float
    attempts: int = 0
    failures: int = 0

    def done(self) -> None:
        """Note that its effect, or its letter, is durable."""
        self.partition.waiting.pop(self.record.offset, None)


class PartitionState:
    """The deliveries of one partition since it was assigned. committed: the offset last committed."""

    def __init__(self, first_offset: int) -> None:
        self.committed = first_offset
        self.waiting: dict[int, Delivery] = {}  # in the order of offsets
        self.listening_until = 0.0
        self._position = first_offset

    def take(self, records: Sequence[Record], now: float) -> None:
        """Take in what was fetched, in the order of offsets."""
        for record in records:
            self.waiting[record.offset] = Delivery(record, self, now)
        self._position = records[-1].offset + 1

    def starts_over(self, records: Sequence[Record]) -> bool:
        """Say whether these records lie before what was fetched already: the partition is another one now."""
        return records[0].offset < self._position

    def due(self, now: float) -> list[Delivery]:
        """Return the deliveries that may be attempted now, in the order of offsets."""
        return [delivery for delivery in self.waiting.values() if delivery.due <= now]

    def has_due(self, now: float) -> bool:
        """Say whether any delivery may be attempted now."""
        return any(delivery.due <= now for delivery in self.waiting.values())

    def wake_up(self, now: float) -> float | None:
        """Return when there is next something to do without any arrival, or None."""
        if not self.waiting:
            return None
        due = min(delivery.due for delivery in self.waiting.values())
        return min(due, self.listening_until) if self.listening_until > now else due

    def committable(self) -> int:
        """Return the offset up to which everything is done."""
        return next(iter(self.waiting), self._position)
