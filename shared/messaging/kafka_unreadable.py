"""Records that the Kafka client itself can't read: a header's name that is no UTF-8.

No ordinary client writes such a record, but one is enough to stop a partition for good: aiokafka raises and
never says where, and would pass over what it had read before. So the partitions are read again, one record at
a time; the unreadable one is handed on empty, with its position, to become a dead letter. What its producer
put behind it into the same batch can't be read either, and goes the same way.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from shared.messaging.broker import Record

SEARCH_SECONDS: Final = 5.0
_POLL_MS: Final = 50
_NO_TIMESTAMP: Final = -1

log = logging.getLogger(__name__)


async def search_unreadable(
    consumer: Any, max_records: int, delivered: Mapping[Any, int]
) -> dict[Any, list[Any]]:
    """Return what can be read up to the first unreadable record, and that one as an empty Record.

    delivered: where to read on, by aiokafka's partitions; where nothing was delivered yet, that is what is
    committed. Comes back after SEARCH_SECONDS in any case: what is left is found by the next search.
    """
    partitions = sorted(consumer.assignment() - consumer.paused())
    for partition in partitions:
        # The failed read moved the positions of the other partitions past what it had read there.
        start = delivered.get(partition)
        if start is None:
            start = await consumer.committed(partition)
        if start is None:
            start = (await consumer.beginning_offsets([partition]))[partition]
        consumer.seek(partition, start)
    found: dict[Any, list[Any]] = {}
    count = 0
    until = asyncio.get_running_loop().time() + SEARCH_SECONDS
    while count < max_records and asyncio.get_running_loop().time() < until:
        for partition in partitions:
            position = await consumer.position(partition)
            try:
                arrived = await consumer.getmany(partition, timeout_ms=_POLL_MS, max_records=1)
            except ValueError as error:
                log.error("%s/%d@%d can't be read: %s", *partition, position, error)  # noqa: TRY400
                consumer.seek(partition, position + 1)
                found.setdefault(partition, []).append(_empty(partition, position))
                return found
            for records in arrived.values():
                found.setdefault(partition, []).extend(records)
                count += len(records)
    return found


def _empty(partition: Any, offset: int) -> Record:
    return Record(partition.topic, partition.partition, offset, 0, _NO_TIMESTAMP, None, None)
