"""One member of a consumer group as a process of its own, to be killed, stopped and told to go.

    python -m tests.integration.messaging.member BOOTSTRAP TOPIC GROUP DIRECTORY NAME

Its effects go into `effects.db` in that directory, which all members share, each behind a fence. It says
`joined` once it has partitions.
"""

import asyncio
import random
import signal
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from shared.clock import SystemClock
from shared.database.sqlite import SqliteDatabase
from shared.identity import ulids
from shared.messaging.broker import Record
from shared.messaging.consumer import Consumer, Listener, Verdict
from shared.messaging.kafka import KafkaBroker
from shared.messaging.kafka_access import KafkaAccess
from shared.messaging.outbox import Outbox
from shared.messaging.retry import Retry
from tests.integration.messaging.world import MEMBERSHIP, create_tables, subject

BATCH_SECONDS: Final = 0.2
"""What applying a batch takes, so that members come and go in the middle of one."""


def open_effects(directory: Path) -> sqlite3.Connection:
    """Return the database of the effects, with its tables."""
    effects = sqlite3.connect(directory / "effects.db", timeout=30.0, isolation_level=None)
    effects.execute("PRAGMA journal_mode=WAL")
    effects.execute("CREATE TABLE IF NOT EXISTS fence (value BLOB PRIMARY KEY)")
    effects.execute("CREATE TABLE IF NOT EXISTS effect (value BLOB, member TEXT)")
    effects.execute("CREATE TABLE IF NOT EXISTS delivery (value BLOB, member TEXT)")
    return effects


async def main(bootstrap: str, topic: str, group: str, directory: Path, name: str) -> None:
    effects = open_effects(directory)
    database = SqliteDatabase(directory / f"{name}.db")
    await database.start()
    await database.write(create_tables)

    async def handle(records: Sequence[Record]) -> list[Verdict]:
        await asyncio.sleep(BATCH_SECONDS)
        effects.execute("BEGIN IMMEDIATE")
        for record in records:
            effects.execute("INSERT INTO delivery VALUES (?, ?)", (record.value, name))
            if effects.execute("INSERT OR IGNORE INTO fence VALUES (?)", (record.value,)).rowcount:
                effects.execute("INSERT INTO effect VALUES (?, ?)", (record.value, name))
        effects.execute("COMMIT")
        return [None] * len(records)

    clock = SystemClock()
    randomness = random.Random(name)
    broker = KafkaBroker(KafkaAccess(bootstrap=bootstrap), client_id=name, membership=MEMBERSHIP)
    subscription = broker.subscription(group, [topic])
    consumer = Consumer(
        subscription,
        [Listener(topic=topic, handle=handle, subject=subject, retry=Retry.parse("fixed:100ms,3"))],
        group=group,
        database=database,
        outbox=Outbox(clock),
        clock=clock,
        new_id=ulids(clock, randomness),
        randomness=randomness,
    )
    running = asyncio.create_task(consumer.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    while not subscription.assigned() and not running.done():  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.02)
    sys.stdout.write("joined\n")
    sys.stdout.flush()
    await asyncio.wait([running])
    await broker.close()
    await database.close()


if __name__ == "__main__":
    bootstrap, topic, group, directory, name = sys.argv[1:]
    asyncio.run(main(bootstrap, topic, group, Path(directory), name))
