"""The batch replayer: letters go again on a schedule, ever more slowly, until they are applied or parked."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from shared.errors import Unreachable
from shared.messaging.ledger import Act
from shared.messaging.letter_office import LetterOffice
from shared.messaging.letters import LetterState
from shared.messaging.prospects import Prospect
from shared.messaging.replayer import Replayer
from shared.messaging.selection import Selection
from tests.unit.messaging.test_acts import ANN, acts, kept, state_of
from tests.unit.messaging.world import TOPIC, World, world


def replayer(w: World, office: LetterOffice, *, rate: float = 100.0) -> Replayer:
    return Replayer(
        office,
        clock=w.clock,
        randomness=w.randomness,
        period_seconds=60.0,
        rate=rate,
        registry=CollectorRegistry(),
    )


async def kept_in_order(w: World) -> list[str]:
    """Keep three letters, each a second after the other; return their ids."""
    letter_ids = []
    for value in (b"a", b"b", b"c"):
        letter_ids.append(await kept(w, value))
        await asyncio.sleep(1)
    return letter_ids


async def test_open_letters_are_replayed_on_the_schedule() -> None:
    async with world() as w:
        going = [await kept(w, b"a"), await kept(w, b"b")]
        parked = await kept(w, b"parked")
        await w.office().park(parked, ANN)
        w.relay()
        w.consume()
        w.start(replayer(w, w.office()).run())
        await asyncio.sleep(50)
        assert w.broker.records(TOPIC) == []
        await asyncio.sleep(100)
        assert {await state_of(w, letter_id) for letter_id in going} == {LetterState.SETTLED}
        assert await state_of(w, parked) is LetterState.PARKED
        assert (Act.REPLAY, "replayer", "its turn on the schedule") in await acts(w.office())


async def test_what_keeps_coming_back_is_replayed_ever_more_slowly_and_then_parked() -> None:
    async with world() as w:
        letter_id = await kept(w)
        w.verdict = lambda _record: ValueError("still frozen")
        w.relay()
        w.consume(w.listener("fixed:10ms,0"))
        w.start(replayer(w, w.office(max_replays=3)).run())
        await asyncio.sleep(1_200)
        assert await state_of(w, letter_id) is LetterState.PARKED
        first, second, third = w.attempts_of(b"bad")
        assert 100 < second - first < 220
        assert 200 < third - second < 400
        assert len(w.broker.records(TOPIC)) == 3


async def test_the_rate_is_kept() -> None:
    async with world() as w:
        for number in range(20):
            await kept(w, b"r%d" % number)
        await asyncio.sleep(60)
        before = w.loop.time()
        assert await replayer(w, w.office(), rate=4.0).replay_due() == 20
        assert w.loop.time() - before == pytest.approx(5.0, abs=0.3)


async def test_of_several_instances_one_replays_a_letter() -> None:
    async with world() as w:
        for number in range(20):
            await kept(w, b"r%d" % number)
        await asyncio.sleep(60)
        published = await asyncio.gather(*(replayer(w, w.office()).replay_due() for _ in range(3)))
        assert sum(published) == 20
        assert len(await acts(w.office())) == 20


async def test_it_goes_on_when_the_coordinator_is_back_and_leaves_the_cancelled_alone() -> None:
    async with world() as w:
        await kept(w)
        w.relay()
        w.prospect = Unreachable("the coordinator is away")
        w.start(replayer(w, w.office()).run())
        await asyncio.sleep(300)
        w.prospect = Prospect.CANCELLED
        await asyncio.sleep(300)
        assert w.broker.records(TOPIC) == []
        w.prospect = Prospect.DECIDED
        await asyncio.sleep(100)
        assert len(w.broker.records(TOPIC)) >= 1


async def test_a_letter_about_which_nobody_can_tell_holds_up_no_other() -> None:
    async with world() as w:
        letter_ids = await kept_in_order(w)
        w.untold = {letter_ids[0]}
        await asyncio.sleep(60)
        assert await replayer(w, w.office()).replay_due() == 2
        assert [await state_of(w, letter_id) for letter_id in letter_ids] == [
            LetterState.OPEN,
            LetterState.REPLAYING,
            LetterState.REPLAYING,
        ]


async def test_a_letter_that_is_purged_before_its_turn_holds_up_no_other() -> None:
    async with world() as w:
        first, second, third = await kept_in_order(w)
        await asyncio.sleep(60)
        going = asyncio.create_task(replayer(w, w.office(), rate=0.1).replay_due())
        await w.until_letters(lambda letters: letters[0].state is LetterState.REPLAYING)
        w.prospect = Prospect.UNBOUND
        everything = Selection(state=LetterState.OPEN)
        purged = await w.office().purge(everything, ANN, force=True, limit=1)
        assert purged.gone == [second]
        assert await going == 2
        assert [await state_of(w, one) for one in (first, third)] == [LetterState.REPLAYING] * 2
