"""What a consumer knows of one partition: which records still wait to be applied, and when each is due again.

Records are applied in any order, for confirmations commute; but only the offsets before the first record that
still waits may be committed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.messaging.broker import Record, TopicPartition


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
        self.position = first_offset

    def take(self, records: Sequence[Record], now: float) -> None:
        """Take in what was fetched, in the order of offsets."""
        for record in records:
            self.waiting[record.offset] = Delivery(record, self, now)
        self.position = records[-1].offset + 1

    def starts_over(self, records: Sequence[Record]) -> bool:
        """Say whether these records lie before what was fetched already: the partition is another one now."""
        return records[0].offset < self.position

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
        return next(iter(self.waiting), self.position)


class Interrupted:
    """The failures of deliveries whose partition was taken away, should the same records come again.

    Every rebalance takes all partitions from all members, and gives most of them back: without this, a record
    that keeps failing would begin its retries anew whenever a member comes or goes.
    """

    def __init__(self) -> None:
        self._kept: dict[TopicPartition, list[Delivery]] = {}

    def keep(self, partition: TopicPartition, state: PartitionState) -> None:
        """Remember what failed in a partition that is taken away now."""
        if failed := [delivery for delivery in state.waiting.values() if delivery.failures]:
            self._kept[partition] = failed

    def go_on(self, partition: TopicPartition, state: PartitionState) -> None:
        """Have deliveries that were fetched again go on where they were; forget those that were passed."""
        left = []
        for before in self._kept.pop(partition, ()):
            again = state.waiting.get(before.record.offset)
            if again is None and before.record.offset >= state.position:
                left.append(before)
            # A broker that came back empty has other records at these offsets.
            elif again is not None and again.record == before.record and not again.failures:
                again.due, again.attempts, again.failures = before.due, before.attempts, before.failures
        if left:
            self._kept[partition] = left
