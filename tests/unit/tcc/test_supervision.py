"""Supervision on virtual time: what dies is shown and starts again; what is stopped has ended."""

import asyncio
import logging

import pytest

from shared.health import Health
from shared.supervision import supervised
from tests.simulation.loop import run_virtually


class Mortal:
    """A loop that dies when it has run for its lifetimes, one after the other, and then runs on."""

    def __init__(self, *lifetimes: float) -> None:
        self._lifetimes = list(lifetimes)
        self.starts: list[float] = []
        self.ended = 0

    async def run(self) -> None:
        self.starts.append(asyncio.get_running_loop().time())
        try:
            await asyncio.sleep(self._lifetimes.pop(0) if self._lifetimes else 1e9)
        finally:
            self.ended += 1
        raise ConnectionError("gone")


def test_a_loop_that_dies_starts_again_with_a_pause_that_doubles(caplog: pytest.LogCaptureFixture) -> None:
    mortal = Mortal(0, 0, 0)

    async def main() -> None:
        async with supervised({"mortal": mortal.run}, Health()):
            await asyncio.sleep(10)

    run_virtually(main())
    assert mortal.starts == [0, 0.5, 1.5, 3.5]
    assert caplog.text.count("The loop mortal died") == 3


def test_the_pause_is_capped_and_short_again_after_a_steady_run() -> None:
    mortal = Mortal(*[0] * 10, 61, 0)

    async def main() -> None:
        async with supervised({"mortal": mortal.run}, Health()):
            await asyncio.sleep(600)

    run_virtually(main())
    pauses = [later - earlier for earlier, later in zip(mortal.starts, mortal.starts[1:], strict=False)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 61.5, 1]


def test_health_shows_what_is_down_and_forgets_it_when_it_runs() -> None:
    mortal = Mortal(1)
    health = Health()

    async def main() -> None:
        async with supervised({"mortal": mortal.run}, health):
            await asyncio.sleep(0.9)
            assert health.problems() == {}
            await asyncio.sleep(0.2)
            assert "ConnectionError" in health.problems()["mortal loop"]
            await asyncio.sleep(0.5)
            assert health.problems() == {}

    run_virtually(main())


def test_one_that_dies_leaves_the_others_alone() -> None:
    mortal, steady = Mortal(*[1] * 5), Mortal()

    async def main() -> None:
        async with supervised({"mortal": mortal.run, "steady": steady.run}, Health()):
            await asyncio.sleep(5)
            assert len(mortal.starts) > 1

    run_virtually(main())
    assert steady.starts == [0]


def test_leaving_ends_them_all_before_it_goes_on() -> None:
    loops = {name: Mortal() for name in "abc"}

    async def main() -> None:
        async with supervised({name: loop.run for name, loop in loops.items()}, Health()):
            await asyncio.sleep(1)
        assert [loop.ended for loop in loops.values()] == [1, 1, 1]

    run_virtually(main())


def test_leaving_in_a_pause_ends_it_too() -> None:
    mortal = Mortal(0)

    async def main() -> None:
        async with supervised({"mortal": mortal.run}, Health()):
            await asyncio.sleep(0.1)

    run_virtually(main())
    assert mortal.starts == [0]


def test_a_loop_that_returns_counts_as_dead(caplog: pytest.LogCaptureFixture) -> None:
    starts: list[int] = []

    async def returns() -> None:
        starts.append(1)

    async def main() -> None:
        async with supervised({"hasty": returns}, Health()):
            await asyncio.sleep(1)

    run_virtually(main())
    assert len(starts) == 2
    assert any("which it never should" in record.message for record in caplog.records)
    assert all(record.levelno == logging.ERROR for record in caplog.records)
