"""What the pace promises: nobody waits while it is quiet, and a stream gathers."""

import asyncio

import pytest

from shared.messaging.pace import LONGEST_SECONDS, SHORTEST_SECONDS, Pace


async def wait(pace: Pace) -> float:
    """Return how long the pace made its loop wait."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await pace.wait()
    return loop.time() - began


async def stream(pace: Pace, rate: float, seconds: float) -> float:
    """Let records come at that rate for so long; return how long the last round was waited for."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    taken = 0
    waited = 0.0
    while loop.time() < began + seconds:
        waited = await wait(pace)
        await asyncio.sleep(0.001)
        come = int(rate * (loop.time() - began))
        if come > taken:
            pace.found(come - taken, loop.time())
            taken = come
    return waited


async def test_the_first_round_begins_at_once() -> None:
    assert await wait(Pace()) == 0


@pytest.mark.parametrize("rate", [10, 100, 250])
async def test_while_it_is_quiet_rounds_follow_each_other_closely(rate: float) -> None:
    assert await stream(Pace(), rate, 10) < 1.1 * SHORTEST_SECONDS


async def test_a_burst_of_a_few_makes_the_next_hardly_wait() -> None:
    pace = Pace()
    pace.found(10, asyncio.get_running_loop().time())
    assert await wait(pace) < 1.1 * SHORTEST_SECONDS


@pytest.mark.parametrize("rate", [600, 2_000, 10_000])
async def test_a_stream_gathers_within_a_second_and_never_longer_than_the_longest(rate: float) -> None:
    waited = await stream(Pace(), rate, 1)
    assert 0.9 * LONGEST_SECONDS < waited < 1.01 * LONGEST_SECONDS


async def test_after_a_stream_it_is_soon_quiet_again() -> None:
    pace = Pace()
    await stream(pace, 2_000, 1)
    await asyncio.sleep(0.4)
    pace.found(1, asyncio.get_running_loop().time())
    assert await wait(pace) < 1.1 * SHORTEST_SECONDS


async def test_a_part_of_a_stream_gathers_as_the_whole_does() -> None:
    assert await stream(Pace(lambda: 3), 250, 1) > 0.9 * LONGEST_SECONDS
