"""Races: what arrives at the same moment ends as if it had come one after the other."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from cli.conformance.case import Case, Section, expect_equal_effects, expect_same
from cli.conformance.drive import Branch, Drive
from cli.conformance.exchange import Exchange, Violation, expect_done, expect_not_refused, expect_refused
from cli.conformance.target import Json
from cli.conformance.try_cases import expect_same_answer
from shared.tcc.protocol import Sort

MANY: Final = 20
ROUNDS: Final = 3
"""A race is run so often: what overtakes what is a matter of luck."""
SIDE_BY_SIDE: Final = 8


async def twenty_tries(drive: Drive) -> None:
    once = await _one_try(drive)
    async for _, before, branch in _rounds(drive):
        answers = await asyncio.gather(*(drive.try_(branch) for _ in range(MANY)))
        for answer in answers:
            expect_not_refused(answer, f"one of {MANY} equal Trys")
        final = await drive.tried(branch)
        expect_done(final, "the Try again")
        for answer in answers:
            if answer.sort is Sort.DONE:
                expect_same_answer(final, answer, f"one of {MANY} equal Trys")
        expect_equal_effects(once, (before, await drive.watched()), f"{MANY} equal Trys at once")
        expect_done(await drive.cancelled(branch), "the Cancel after them")


async def twenty_confirms(drive: Drive) -> None:
    once = await _one_confirm(drive)
    async for _, before, branch in _rounds(drive):
        expect_done(await drive.tried(branch), "a Try")
        for answer in await asyncio.gather(*(drive.confirm(branch) for _ in range(MANY))):
            expect_not_refused(answer, f"one of {MANY} equal Confirms")
        expect_done(await drive.confirmed(branch), "the Confirm again")
        expect_equal_effects(once, (before, await drive.watched()), f"{MANY} equal Confirms at once")


async def try_and_cancel(drive: Drive) -> None:
    once = await _one_try(drive)
    async for turn, before, branch in _rounds(drive):
        calls = [drive.try_ if (number + turn) % 2 else drive.cancel for number in range(MANY)]
        for answer in await asyncio.gather(*(call(branch) for call in calls)):
            _expect_one_of(answer, {200, 201, 202, 204, 409}, "a Try or a Cancel that race each other")
        expect_done(await drive.cancelled(branch), "the Cancel after the race")
        expect_refused(await drive.tried(branch), "the Try after the race", 409)
        if once[0] != once[1]:
            expect_same(before, await drive.watched(), "Trys that race their Cancel")


async def confirm_and_cancel(drive: Drive) -> None:
    once = await _one_confirm(drive)
    async for turn, before, branch in _rounds(drive):
        expect_done(await drive.tried(branch), "a Try")
        calls = [drive.confirm if (number + turn) % 2 else drive.cancel for number in range(MANY)]
        answers = await asyncio.gather(*(call(branch) for call in calls))
        for answer in answers:
            _expect_one_of(answer, {200, 202, 204, 409}, "a Confirm or a Cancel that race each other")
        if len({answer.label for answer in answers if answer.sort is Sort.DONE}) > 1:
            raise Violation("a Confirm and a Cancel of one branch were both answered as done", answers[-1])
        confirmed, cancelled = await drive.confirmed(branch), await drive.cancelled(branch)
        kept = confirmed.sort is Sort.DONE
        if kept is (cancelled.sort is Sort.DONE):
            told = f"after the race Confirm is answered {confirmed.outcome} and Cancel {cancelled.outcome}"
            raise Violation(f"{told}: exactly one of them has to be done", cancelled)
        expect_refused(cancelled if kept else confirmed, "the decision that lost the race", 409)
        if kept:
            expect_equal_effects(once, (before, await drive.watched()), "a Confirm that won a race")


async def side_by_side(drive: Drive) -> None:
    once = await _one_try(drive)
    for _ in range(ROUNDS):
        before = await drive.watched()
        branches = [await drive.branch() for _ in range(SIDE_BY_SIDE)]
        await drive.warm(SIDE_BY_SIDE)
        for answer in await asyncio.gather(*(drive.tried(branch) for branch in branches)):
            expect_done(answer, f"one of {SIDE_BY_SIDE} Trys of different branches")
        held = (before, await drive.watched())
        expect_equal_effects(once, held, f"{SIDE_BY_SIDE} branches that were held at once", SIDE_BY_SIDE)
        for answer in await asyncio.gather(*(drive.cancelled(branch) for branch in branches)):
            expect_done(answer, f"one of {SIDE_BY_SIDE} Cancels of different branches")
        if once[0] != once[1]:
            expect_same(before, await drive.watched(), f"{SIDE_BY_SIDE} branches that were let go of at once")


async def _rounds(drive: Drive) -> AsyncIterator[tuple[int, Json | None, Branch]]:
    """Yield for each round its number, what is watched before it and a new branch, connections being open.

    By the number's parity it is another call's turn to be sent first.
    """
    for turn in range(ROUNDS):
        branch = await drive.branch()
        before = await drive.watched()
        await drive.warm(MANY)
        yield turn, before, branch


async def _one_try(drive: Drive) -> tuple[Json | None, Json | None]:
    """Return what is watched before and after one Try, which is let go of again."""
    if drive.target.watch is None:
        return None, None
    before = await drive.watched()
    branch = await _tried(drive)
    after = await drive.watched()
    expect_done(await drive.cancelled(branch), "its Cancel")
    return before, after


async def _one_confirm(drive: Drive) -> tuple[Json | None, Json | None]:
    """Return what is watched before one Try and after its Confirm."""
    if drive.target.watch is None:
        return None, None
    before = await drive.watched()
    expect_done(await drive.confirmed(await _tried(drive)), "a Confirm")
    return before, await drive.watched()


async def _tried(drive: Drive) -> Branch:
    branch = await drive.branch()
    expect_done(await drive.tried(branch), "a Try")
    return branch


def _expect_one_of(answer: Exchange, statuses: set[int], what: str) -> None:
    if answer.status not in statuses and answer.sort is not Sort.UNKNOWN:
        shown = ", ".join(str(status) for status in sorted(statuses))
        raise Violation(f"{what}: expected one of {shown}, or unknown, saw {answer.outcome}", answer)


CASES: Final = (
    Case(
        "twenty-trys-at-once",
        Section.REPEATS,
        f"sends {MANY} equal Trys at the same time, {ROUNDS} times over",
        "one is held; all that are answered for certain are answered alike",
        twenty_tries,
    ),
    Case(
        "twenty-confirms-at-once",
        Section.REPEATS,
        f"sends {MANY} equal Confirms at the same time, {ROUNDS} times over",
        "it is kept once, and none is refused",
        twenty_confirms,
    ),
    Case(
        "try-and-cancel-at-once",
        Section.REPEATS,
        f"sends {MANY} Trys and Cancels of one branch at the same time, then a Cancel, {ROUNDS} times over",
        "afterwards nothing is held, and the Try is refused",
        try_and_cancel,
    ),
    Case(
        "confirm-and-cancel-at-once",
        Section.REPEATS,
        f"sends {MANY} Confirms and Cancels of one branch at the same time, {ROUNDS} times over",
        "one decision wins, and the other is answered 409 from then on",
        confirm_and_cancel,
    ),
    Case(
        "branches-side-by-side",
        Section.REPEATS,
        f"holds {SIDE_BY_SIDE} branches at the same time, then cancels them together, {ROUNDS} times over",
        "each is held and let go of, and no change of one is lost over another's",
        side_by_side,
    ),
)
