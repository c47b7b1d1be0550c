"""What is done about letters: parked, released, edited, purged, and replayed only where that is any use."""

import asyncio
from typing import Any

import pytest

from shared.errors import NotFound, Refused, Unreachable
from shared.messaging.broker import Record
from shared.messaging.failure import failure_of
from shared.messaging.ledger import Act, Asked, LedgerLine
from shared.messaging.letter_office import REPLAYED_AT_ONCE, LetterOffice
from shared.messaging.letters import DeadLetter, LetterState, find, keep
from shared.messaging.prospects import Prospect
from shared.messaging.purges import Kept
from shared.messaging.replays import ReplayOutcome
from shared.messaging.selection import Selection
from tests.unit.messaging.world import GROUP, TOPIC, World, subject, world

ANN = Asked("ann", "product 1 is thawed")
GARBAGE = b"\xff\x00"


async def kept(w: World, value: bytes = b"bad") -> str:
    """Keep a letter; one of a value that is no text can't be decoded."""
    record = Record(TOPIC, 0, 0, w.clock.now(), 0, b"k", value)
    letter: DeadLetter = await w.database.write(
        lambda connection: keep(
            connection,
            record,
            subject=None if value == GARBAGE else subject(record),
            failure=failure_of(ValueError("frozen")),
            attempts=4,
            group=GROUP,
            now=w.clock.now(),
            new_id=w.new_id,
        )
    )
    return letter.id


async def letter_of(w: World, letter_id: str) -> DeadLetter:
    letter: DeadLetter = await w.database.read(lambda connection: find(connection, letter_id))
    return letter


async def state_of(w: World, letter_id: str) -> LetterState:
    return (await letter_of(w, letter_id)).state


async def acts(office: LetterOffice, letter_id: str | None = None) -> list[tuple[Act, str, str | None]]:
    lines: list[LedgerLine] = (await office.history(letter_id=letter_id, limit=100))[0]
    return [(line.act, line.who, line.why) for line in lines]


async def refusal(act: Any) -> str:
    with pytest.raises(Refused) as refused:
        await act
    return refused.value.slug


async def test_a_parked_letter_is_replayed_by_its_id_only() -> None:
    async with world() as w:
        letter_id, office = await kept(w), w.office()
        await office.park(letter_id, ANN)
        outcome, _ = await office.replay(letter_id, ANN, also_parked=False)
        assert (outcome, await state_of(w, letter_id)) == (ReplayOutcome.PARKED, LetterState.PARKED)
        outcome, _ = await office.replay(letter_id, ANN)
        assert (outcome, await state_of(w, letter_id)) == (ReplayOutcome.PUBLISHED, LetterState.REPLAYING)


async def test_parking_and_releasing_again_change_nothing() -> None:
    async with world() as w:
        letter_id, office = await kept(w), w.office()
        for _ in range(2):
            assert (await office.park(letter_id, ANN)).state is LetterState.PARKED
        for _ in range(2):
            assert (await office.release(letter_id, Asked("bob"))).state is LetterState.OPEN
        assert await acts(office, letter_id) == [
            (Act.PARK, "ann", "product 1 is thawed"),
            (Act.RELEASE, "bob", None),
        ]


async def test_a_parked_letter_stays_so_when_its_record_fails_again_and_is_settled_when_it_goes_through() -> (
    None
):
    async with world() as w:
        letter_id = await kept(w)
        await w.office().park(letter_id, ANN)
        assert await kept(w) == letter_id, "there is one letter about it"
        assert (await letter_of(w, letter_id)).attempts == 8
        assert await state_of(w, letter_id) is LetterState.PARKED
        w.consume()
        w.publish(b"bad")
        await w.until_letters(lambda letters: letters[0].state is LetterState.SETTLED)
        assert await refusal(w.office().park(letter_id, ANN)) == "letter-settled"
        assert await refusal(w.office().release(letter_id, ANN)) == "letter-settled"


async def test_a_replay_that_is_on_its_way_may_be_parked_and_is_not_published_again() -> None:
    async with world() as w:
        letter_id, office = await kept(w), w.office()
        await office.replay(letter_id, ANN)
        await office.park(letter_id, ANN)
        w.relay()
        await asyncio.sleep(90)
        assert len(w.broker.records(TOPIC)) == 1


async def test_what_comes_back_too_often_is_parked_until_it_is_released() -> None:
    async with world() as w:
        letter_id, office = await kept(w), w.office(max_replays=2)
        outcomes = []
        for _ in range(4):
            outcome, _ = await office.replay(letter_id, ANN)
            outcomes.append(outcome)
            await kept(w)
        assert outcomes == [ReplayOutcome.PUBLISHED] * 2 + [ReplayOutcome.PARKED] * 2
        (parked,) = [line for line in (await office.history(limit=9))[0] if line.act is Act.PARK]
        assert parked.details == {"replays": 2, "maxReplays": 2}
        outcome, _ = await office.replay(letter_id, ANN, max_replays=3)
        assert outcome is ReplayOutcome.PUBLISHED, "whoever says so may go on"
        await kept(w)
        await office.park(letter_id, ANN)
        await office.release(letter_id, ANN)
        outcome, letter = await office.replay(letter_id, ANN)
        assert (outcome, letter.replays) == (ReplayOutcome.PUBLISHED, 4)


@pytest.mark.parametrize(
    ("prospect", "outcome", "state"),
    [
        (Prospect.APPLIED, ReplayOutcome.SETTLED, LetterState.SETTLED),
        (Prospect.CANCELLED, ReplayOutcome.CANCELLED, LetterState.OPEN),
        (Prospect.UNDECIDED, ReplayOutcome.UNDECIDED, LetterState.OPEN),
        (Prospect.UNBOUND, ReplayOutcome.PUBLISHED, LetterState.REPLAYING),
        (Prospect.UNKNOWN, ReplayOutcome.PUBLISHED, LetterState.REPLAYING),
    ],
)
async def test_what_was_decided_is_asked_before_a_replay(
    prospect: Prospect, outcome: ReplayOutcome, state: LetterState
) -> None:
    async with world() as w:
        letter_id = await kept(w)
        w.prospect = prospect
        found, letter = await w.office().replay(letter_id, ANN)
        assert (found, letter.state) == (outcome, state)
        published = outcome is ReplayOutcome.PUBLISHED
        assert bool(await acts(w.office())) is published


async def test_of_several_letters_each_is_decided_alone() -> None:
    async with world() as w:
        first, last, office = await kept(w, b"first"), await kept(w, b"last"), w.office()
        await office.park(last, ANN)
        published, unknown, parked = await office.replay_each([first, "nobody", last], ANN, also_parked=False)
        assert isinstance(published, tuple)
        assert (published[0], published[1].id) == (ReplayOutcome.PUBLISHED, first)
        assert isinstance(unknown, NotFound)
        assert isinstance(parked, tuple)
        assert parked[0] is ReplayOutcome.PARKED
        w.prospect = Unreachable("The coordinator is away.")
        asked = await office.replay_each([first, last], ANN)
        assert [isinstance(one, Unreachable) for one in asked] == [True, True]
        assert await acts(office, first) == [(Act.REPLAY, "ann", "product 1 is thawed")]


async def test_a_letter_that_is_named_twice_is_published_once() -> None:
    async with world() as w:
        letter_id, office = await kept(w), w.office()
        twice = await office.replay_each([letter_id] * 2, ANN)
        assert [one[0] for one in twice if isinstance(one, tuple)] == [
            ReplayOutcome.PUBLISHED,
            ReplayOutcome.UNDER_WAY,
        ]
        assert len(await acts(office)) == 1


async def test_the_loop_guard_counts_for_each_of_several_letters() -> None:
    async with world() as w:
        often, once, office = await kept(w, b"often"), await kept(w, b"once"), w.office(max_replays=1)
        await office.replay(often, ANN)
        await kept(w, b"often")
        outcomes = [one[0] for one in await office.replay_each([often, once], ANN) if isinstance(one, tuple)]
        assert outcomes == [ReplayOutcome.PARKED, ReplayOutcome.PUBLISHED]
        again = await office.replay_each([often], ANN, max_replays=2)
        assert [one[0] for one in again if isinstance(one, tuple)] == [ReplayOutcome.PUBLISHED]


async def test_what_was_decided_is_asked_of_many_at_a_time_within_a_bound() -> None:
    async with world() as w:
        ids = [await kept(w, b"r%d" % number) for number in range(100)]
        asking, most = 0, 0

        class Slow:
            async def of(self, _letter: DeadLetter) -> Prospect:
                nonlocal asking, most
                asking += 1
                most = max(most, asking)
                await asyncio.sleep(5)
                asking -= 1
                raise Unreachable("The coordinator said nothing.")

        began = w.loop.time()
        answers = await w.office(prospects=Slow()).replay_each(ids, ANN)
        assert all(isinstance(answer, Unreachable) for answer in answers)
        assert most == REPLAYED_AT_ONCE
        assert w.loop.time() - began == pytest.approx(20)


async def test_nothing_is_replayed_while_nobody_can_tell_what_was_decided() -> None:
    async with world() as w:
        letter_id = await kept(w)
        w.prospect = Unreachable("the coordinator is away")
        with pytest.raises(Unreachable):
            await w.office().replay(letter_id, ANN)
        assert await state_of(w, letter_id) is LetterState.OPEN


async def test_of_two_who_replay_at_once_one_publishes() -> None:
    async with world() as w:
        letter_id, office = await kept(w), w.office()
        outcomes = await asyncio.gather(*(office.replay(letter_id, ANN) for _ in range(5)))
        assert sorted(outcome for outcome, _ in outcomes) == ["published"] + ["under-way"] * 4


async def test_an_edit_publishes_another_value_under_a_new_id_and_keeps_the_old() -> None:
    async with world() as w:
        letter_id, office = await kept(w, GARBAGE), w.office()
        letter, is_new = await office.edit(letter_id, b"mended", ANN)
        assert is_new
        assert (letter.state, letter.replaces, letter.branch_id) == (
            LetterState.REPLAYING,
            letter_id,
            "mended",
        )
        old = await letter_of(w, letter_id)
        assert (old.state, old.replaced_by, old.value) == (LetterState.EDITED, letter.id, GARBAGE)
        w.relay()
        w.consume()
        await asyncio.sleep(5)
        assert await state_of(w, letter.id) is LetterState.SETTLED
        (record,) = w.broker.records(TOPIC)
        assert (record.key, record.value) == (b"k", b"mended")
        assert record.header("handfast-letter-id") == letter.id.encode()
        assert await state_of(w, letter_id) is LetterState.EDITED
        assert await acts(office, letter_id) == [(Act.EDIT, "ann", "product 1 is thawed")]
        assert await acts(office, letter.id) == [(Act.REPLAY, "ann", "product 1 is thawed")]
        assert (await office.replay(letter_id, ANN))[0] is ReplayOutcome.EDITED


async def test_the_same_edit_again_is_answered_as_before_and_another_is_refused() -> None:
    async with world() as w:
        letter_id, office = await kept(w, GARBAGE), w.office()
        first, _ = await office.edit(letter_id, b"mended", ANN)
        again, is_new = await office.edit(letter_id, b"mended", ANN)
        assert (again.id, is_new) == (first.id, False)
        assert await refusal(office.edit(letter_id, b"otherwise", ANN)) == "letter-edited"
        assert await refusal(office.park(letter_id, ANN)) == "letter-edited"
        assert len(await w.letters()) == 2


async def test_an_edit_that_fails_opens_the_new_letter_and_may_be_edited_again() -> None:
    async with world() as w:
        letter_id, office = await kept(w, GARBAGE), w.office()
        second, _ = await office.edit(letter_id, b"mended", ANN)
        await kept(w, b"mended")
        assert await state_of(w, second.id) is LetterState.OPEN
        third, is_new = await office.edit(second.id, b"mended", ANN)
        assert (is_new, third.replaces) == (True, second.id)


async def test_an_edit_can_not_make_a_record_somebody_else_s() -> None:
    async with world() as w:
        letter_id, office = await kept(w, b"mine"), w.office()
        assert await refusal(office.edit(letter_id, b"yours", ANN)) == "other-branch"
        assert await refusal(office.edit(letter_id, GARBAGE, ANN)) == "invalid-value"
        other = await kept(w, GARBAGE)
        assert await refusal(office.edit(other, b"mine", ANN)) == "letter-exists"
        assert await state_of(w, other) is LetterState.OPEN, "nothing of it stays"
        for prospect, slug in (
            (Prospect.CANCELLED, "decision-is-cancel"),
            (Prospect.UNDECIDED, "not-decided"),
            (Prospect.APPLIED, "letter-settled"),
        ):
            w.prospect = prospect
            assert await refusal(office.edit(other, b"new", ANN)) == slug
        assert len(await w.letters()) == 2


async def test_what_is_on_its_way_is_not_edited() -> None:
    async with world() as w:
        letter_id, office = await kept(w), w.office()
        await office.replay(letter_id, ANN)
        assert await refusal(office.edit(letter_id, b"bad", ANN)) == "letter-replaying"


async def purge(w: World, **options: Any) -> tuple[list[str], dict[str, Kept]]:
    purged = await w.office().purge(Selection(), ANN, limit=100, **options)
    assert purged.more is None
    return purged.gone, purged.kept


async def test_a_decided_confirm_is_never_purged() -> None:
    async with world() as w:
        letter_id = await kept(w)
        assert await purge(w) == ([], {letter_id: Kept.OPEN})
        assert await purge(w, force=True) == ([], {letter_id: Kept.DECIDED})
        await w.office().park(letter_id, ANN)
        assert await purge(w, force=True) == ([], {letter_id: Kept.DECIDED})
        w.prospect = Prospect.UNDECIDED
        assert await purge(w, force=True) == ([], {letter_id: Kept.UNDECIDED})
        w.prospect = Unreachable("the coordinator is away")
        assert await purge(w, force=True) == ([], {letter_id: Kept.UNREACHABLE})
        w.prospect = Prospect.DECIDED
        await w.office().replay(letter_id, ANN)
        assert await purge(w, force=True) == ([], {letter_id: Kept.REPLAYING})


@pytest.mark.parametrize("prospect", [Prospect.CANCELLED, Prospect.APPLIED, Prospect.UNBOUND])
async def test_a_parked_letter_on_which_nothing_hangs_is_purged_and_stays_in_the_ledger(
    prospect: Prospect,
) -> None:
    async with world() as w:
        letter_id = await kept(w)
        await w.office().park(letter_id, ANN)
        w.prospect = prospect
        assert await purge(w, dry_run=True) == ([letter_id], {})
        assert len(await w.letters()) == 1
        assert await purge(w) == ([letter_id], {})
        assert await w.letters() == []
        last = (await w.office().history(letter_id=letter_id, limit=9))[0][-1]
        assert (last.act, last.who) == (Act.PURGE, "ann")
        assert last.details is not None
        assert last.details["branchId"] == "bad"


async def test_of_what_nobody_can_tell_only_force_purges() -> None:
    async with world() as w:
        letter_id = await kept(w)
        await w.office().park(letter_id, ANN)
        w.prospect = Prospect.UNKNOWN
        assert await purge(w) == ([], {letter_id: Kept.UNKNOWN})
        assert await purge(w, force=True) == ([letter_id], {})


async def test_what_changes_while_it_is_asked_about_is_not_purged() -> None:
    async with world() as w:
        letter_id, office = await kept(w), w.office()
        await office.park(letter_id, ANN)

        async def release_meanwhile(letter: DeadLetter) -> Prospect:
            await office.release(letter.id, ANN)
            return Prospect.CANCELLED

        w.of = release_meanwhile  # type: ignore[method-assign]
        purged = await office.purge(Selection(), ANN, limit=9)
        assert (purged.gone, purged.kept) == ([], {letter_id: Kept.CHANGED})
        assert await state_of(w, letter_id) is LetterState.OPEN


async def test_what_was_touched_lately_is_not_looked_at() -> None:
    async with world() as w:
        old = await kept(w, GARBAGE)
        await w.office().edit(old, b"mended", ANN)
        await asyncio.sleep(60)
        assert (await purge(w, quiet_ms=61_000))[0] == []
        assert (await purge(w, quiet_ms=60_000))[0] == [old]


async def test_acts_on_a_letter_that_is_not_there_are_not_found() -> None:
    async with world() as w:
        office = w.office()
        for act in (
            office.park("nobody", ANN),
            office.release("nobody", ANN),
            office.edit("nobody", b"x", ANN),
            office.replay("nobody", ANN),
        ):
            with pytest.raises(NotFound):
                await act
