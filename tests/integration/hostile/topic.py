"""One topic of the real broker: what is published to it, and what came of that where a user would look."""

from typing import Any, Final

import aiokafka

from tests.integration.conftest import EmbeddedBroker
from tests.integration.hostile.bad_records import Bad
from tests.integration.hostile.programs import Programs
from tests.integration.hostile.seeds import TOPICS

PARTITIONS: Final = 3


class Topic:
    """One topic, the program that consumes it, and what came of what was published."""

    def __init__(self, programs: Programs, kafka: EmbeddedBroker, program: str) -> None:
        self.programs, self.kafka, self.program, self.name = programs, kafka, program, TOPICS[program]
        self.seen = {one["letterId"] for one in self.letters()}
        self.dead_before = len(self.dead_records())

    def publish(self, records: list[tuple[int, Bad]]) -> None:
        """Publish records in their order, each to its partition."""

        async def work() -> None:
            producer = aiokafka.AIOKafkaProducer(
                bootstrap_servers=self.kafka.bootstrap, max_batch_size=2_000_000, max_request_size=2_000_000
            )
            await producer.start()
            try:
                for partition, one in records:
                    # By the batch, because the client itself refuses a record without key and value.
                    batch = producer.create_batch()
                    batch.append(key=one.key, value=one.value, timestamp=None, headers=list(one.headers))
                    await (await producer.send_batch(batch, self.name, partition=partition))
            finally:
                await producer.stop()

        self.programs.run(work())

    def letters(self) -> list[dict[str, Any]]:
        """Return all letters of the topic, as the API shows them page by page."""
        found, cursor = [], ""
        while True:
            page = self.programs.read(
                self.program, f"/dead-letters?topic={self.name}&redact=false&limit=20{cursor}"
            )
            found += page["items"]
            if page["nextCursor"] is None:
                return found
            cursor = f"&cursor={page['nextCursor']}"

    def new_letters(self) -> list[dict[str, Any]]:
        return [one for one in self.letters() if one["letterId"] not in self.seen]

    def dead_records(self) -> list[Any]:
        """Return what stands on `dlt-<topic>`, as any Kafka client reads it."""

        async def work() -> list[Any]:
            reader = aiokafka.AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap)
            await reader.start()
            try:
                places = [aiokafka.TopicPartition(f"dlt-{self.name}", number) for number in range(PARTITIONS)]
                reader.assign(places)
                ends = await reader.end_offsets(places)
                for place in places:
                    reader.seek(place, 0)
                found: list[Any] = []
                while len(found) < sum(ends.values()):
                    for records in (await reader.getmany(timeout_ms=200)).values():
                        found.extend(records)
                return found
            finally:
                await reader.stop()

        return self.programs.run(work())

    def lag(self) -> int:
        """Return how many records of the topic the program has not committed yet."""

        async def work() -> int:
            group = f"handfast-{self.program}"
            reader = aiokafka.AIOKafkaConsumer(
                bootstrap_servers=self.kafka.bootstrap, group_id=group, enable_auto_commit=False
            )
            await reader.start()
            try:
                places = [aiokafka.TopicPartition(self.name, number) for number in range(PARTITIONS)]
                ends = await reader.end_offsets(places)
                return sum([ends[place] - (await reader.committed(place) or 0) for place in places])
            finally:
                await reader.stop()

        return self.programs.run(work())
