"""The loop that deletes what is past its retention: in batches, with rests, and whatever fails it goes on."""

import asyncio
from collections.abc import AsyncIterator

from prometheus_client import CollectorRegistry
from sqlalchemy import Connection

from shared.clock import Millis
from shared.database.inline import InlineDatabase
from shared.errors import DatabaseUnavailable, Unreachable
from shared.retention import BATCH, REST_SECONDS, Retention, in_batches
from tests.simulation.loop import VirtualClock, run_virtually


def test_it_rests_between_batches_and_pauses_between_rounds() -> None:
    times: list[float] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()

        async def sweep() -> AsyncIterator[int]:
            for _ in range(3):
                times.append(loop.time())
                yield 1

        running = asyncio.create_task(Retention({"rows": sweep}, pause_seconds=60).run())
        await asyncio.sleep(150)
        running.cancel()

    run_virtually(story())
    assert [round(time, 2) for time in times] == [60, 60.05, 60.1, 120.15, 120.2, 120.25]
    assert REST_SECONDS == 0.05


def test_what_can_not_be_done_now_does_not_keep_the_rest() -> None:
    registry = CollectorRegistry()
    calls: list[str] = []

    async def away() -> AsyncIterator[int]:
        calls.append("away")
        yield 2
        raise Unreachable

    async def locked() -> AsyncIterator[int]:
        calls.append("locked")
        if calls:
            raise DatabaseUnavailable
        yield 0

    async def well() -> AsyncIterator[int]:
        calls.append("well")
        yield 3

    sweeps = {"branches": away, "letters": locked, "keys": well}
    retention = Retention(sweeps, pause_seconds=1, registry=registry)
    run_virtually(retention.sweep())
    assert calls == ["away", "locked", "well"]
    deleted = {
        kind: registry.get_sample_value("handfast_retention_deleted_total", {"kind": kind}) for kind in sweeps
    }
    assert deleted == {"branches": 2, "letters": None, "keys": 3}


def test_a_write_is_repeated_until_it_finds_less_than_a_batch() -> None:
    async def story() -> None:
        database = InlineDatabase()
        await database.start()
        left, asked = 2 * BATCH + 1, []
        clock = VirtualClock(asyncio.get_running_loop())

        def delete(_connection: Connection, before: Millis, most: int) -> int:
            nonlocal left
            asked.append(before)
            gone = min(left, most)
            left -= gone
            return gone

        sweep = in_batches(database, clock, 1_000, delete)
        assert [gone async for gone in sweep()] == [BATCH, BATCH, 1]
        assert asked == [clock.now() - 1_000] * 3
        await database.close()

    run_virtually(story())
