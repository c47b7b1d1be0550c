"""Several members of a group on Apache Kafka, who come, go, die and stand still in the middle of batches."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.launcher import ROOT
from shared.database.port import Database
from tests.integration.messaging.member import open_effects
from tests.integration.messaging.world import MEMBERSHIP, PARTITIONS, World, world
from tests.kafka import Kafka

pytestmark = pytest.mark.on_kafka

ROUND = 99


class Members:
    """Starts members as processes; what is left of them is killed at the end."""

    def __init__(self, w: World, bootstrap: str, directory: Path) -> None:
        self._arguments = [bootstrap, w.topic, w.group, str(directory)]
        self._running: dict[str, subprocess.Popen[str]] = {}

    async def join(self, name: str) -> None:
        """Start one, and wait until it has partitions."""
        process = self._running[name] = await asyncio.to_thread(self._start, name)
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "joined\n"

    def _start(self, name: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.integration.messaging.member", *self._arguments, name],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def send(self, name: str, number: signal.Signals) -> None:
        self._running[name].send_signal(number)

    async def ended(self, name: str) -> int:
        return await asyncio.to_thread(self._running[name].wait, 30)

    def close(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@contextlib.contextmanager
def members(w: World, bootstrap: str, directory: Path) -> Iterator[Members]:
    some = Members(w, bootstrap, directory)
    try:
        yield some
    finally:
        some.close()


async def test_whoever_comes_goes_dies_or_stands_still_loses_and_doubles_nothing(
    kafka: Kafka, tmp_path: Path, store: Database
) -> None:
    effects = open_effects(tmp_path)
    committed: list[dict[int, int]] = []
    enough = asyncio.Event()
    published = 0

    def number(query: str) -> int:
        found: int = effects.execute(query).fetchone()[0]
        return found

    async with world(kafka.bootstrap, store) as w:

        async def publish() -> None:
            nonlocal published
            while not enough.is_set():
                numbers = range(published, published + ROUND)
                await w.publish(*(w.message(b"%d" % n, partition=n % PARTITIONS) for n in numbers))
                published += ROUND
                await asyncio.sleep(0.1)

        async def watch() -> None:
            while True:
                committed.append({place: offset or 0 for place, offset in (await w.committed()).items()})
                await asyncio.sleep(0.2)

        async def at_work(*names: str) -> None:
            """Wait until each of them has had effects from now on."""
            for name in names:
                of_theirs = f"SELECT count(*) FROM effect WHERE member = '{name}'"  # noqa: S608 - ours
                before = number(of_theirs)
                await w.until(lambda: number(of_theirs) > before)  # noqa: B023 - it is awaited at once

        with members(w, kafka.bootstrap, tmp_path) as group:
            await group.join("one")
            publishing, watching = w.start(publish()), w.start(watch())
            await group.join("two")
            await at_work("one", "two")
            await group.join("three")
            await at_work("three", "two", "one")
            group.send("one", signal.SIGKILL)
            await at_work("two", "three")
            group.send("two", signal.SIGSTOP)
            stopped = time.monotonic()
            await group.join("four")
            await w.until(lambda: time.monotonic() - stopped > 2 * MEMBERSHIP.session_seconds)
            group.send("two", signal.SIGCONT)
            await at_work("two", "three", "four")
            group.send("three", signal.SIGTERM)
            assert await group.ended("three") == 0
            await at_work("four", "two")
            enough.set()
            await publishing
            await w.until(lambda: number("SELECT count(*) FROM effect") == published)

            async def all_committed() -> bool:
                return sum(offset or 0 for offset in (await w.committed()).values()) == published

            await w.until(all_committed)
            watching.cancel()
    assert number("SELECT count(DISTINCT value) FROM effect") == published
    # Whoever died or was thrown out may have applied what it could not commit any more.
    assert published < number("SELECT count(*) FROM delivery") < 2 * published
    effects.close()
    for place in range(PARTITIONS):
        offsets = [sample[place] for sample in committed]
        assert offsets == sorted(offsets), "no member commits what was taken away from it"


async def test_a_member_that_leaves_hands_over_at_once(kafka: Kafka, tmp_path: Path, store: Database) -> None:
    """It leaves the group, so that nobody waits for the end of its session."""
    async with world(kafka.bootstrap, store) as w:
        w.consume()
        await w.until(lambda: len(w.subscriptions[0].assigned()) == PARTITIONS)
        with members(w, kafka.bootstrap, tmp_path) as group:
            await group.join("other")
            await w.until(lambda: 0 < len(w.subscriptions[0].assigned()) < PARTITIONS)
            before = time.monotonic()
            group.send("other", signal.SIGTERM)
            await w.until(lambda: len(w.subscriptions[0].assigned()) == PARTITIONS)
            assert time.monotonic() - before < MEMBERSHIP.session_seconds
            assert await group.ended("other") == 0
