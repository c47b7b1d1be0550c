import asyncio

from shared.bell import Bell


class Looks:
    """Something to wait for, and how often it was looked at."""

    def __init__(self) -> None:
        self.value: str | None = None
        self.count = 0
        self._looked: asyncio.Queue[int] = asyncio.Queue()

    async def __call__(self) -> str | None:
        self.count += 1
        self._looked.put_nowait(self.count)
        return self.value

    async def reach(self, count: int) -> None:
        """Wait until it was looked at that often."""
        async with asyncio.timeout(5):
            while await self._looked.get() < count:
                continue


async def test_what_is_there_already_is_returned_at_once() -> None:
    looks = Looks()
    looks.value = "there"
    assert await Bell().wait("a", looks, 0) == "there"


async def test_waiting_no_time_looks_once() -> None:
    looks = Looks()
    assert await Bell().wait("a", looks, 0) is None
    assert looks.count == 1


async def test_a_ring_wakes_all_who_wait_for_its_key() -> None:
    bell, looks = Bell(poll=60), Looks()
    waiting = [asyncio.create_task(bell.wait("a", looks, 60)) for _ in range(3)]
    other = asyncio.create_task(bell.wait("b", looks, 60))
    await looks.reach(4)
    looks.value = "rung"
    bell.ring("a")
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiting) == ["rung"] * 3
    assert not other.done()
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)
    assert bell._waiting == {}


async def test_a_ring_during_the_look_is_not_missed() -> None:
    bell = Bell(poll=60)
    found: list[str] = []

    async def look() -> str | None:
        if found:
            return found[0]
        found.append("between")
        bell.ring("a")
        return None

    async with asyncio.timeout(5):
        assert await bell.wait("a", look, 60) == "between"


async def test_a_change_without_a_ring_is_found_by_looking_again() -> None:
    bell, looks = Bell(poll=0.001), Looks()
    waiting = asyncio.create_task(bell.wait("a", looks, 60))
    await looks.reach(2)
    looks.value = "elsewhere"
    async with asyncio.timeout(5):
        assert await waiting == "elsewhere"


async def test_the_end_of_the_wait_looks_once_more() -> None:
    looks = Looks()
    assert await Bell(poll=60).wait("a", looks, 0.01) is None
    assert looks.count == 2


async def test_who_is_cancelled_leaves_nothing_behind() -> None:
    bell, looks = Bell(poll=60), Looks()
    waiting = asyncio.create_task(bell.wait("a", looks, 60))
    await looks.reach(1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert bell._waiting == {}
    bell.ring("a")


async def test_a_hurry_ends_every_wait_with_one_more_look() -> None:
    bell, looks = Bell(poll=60), Looks()
    waiting = asyncio.create_task(bell.wait("a", looks, 60))
    await looks.reach(1)
    bell.hurry()
    async with asyncio.timeout(5):
        assert await waiting is None
    assert looks.count == 2
    assert await bell.wait("b", looks, 60) is None  # Nor does anybody wait later.


async def test_a_ring_is_told_to_other_instances_and_one_that_was_heard_is_not() -> None:
    told: list[str] = []
    bell, looks = Bell(poll=60, tell=told.append), Looks()
    waiting = asyncio.create_task(bell.wait("a", looks, 60))
    await looks.reach(1)
    looks.value = "there"
    bell.heard("a")
    assert await waiting == "there"
    assert told == []
    bell.ring("a")
    assert told == ["a"]
