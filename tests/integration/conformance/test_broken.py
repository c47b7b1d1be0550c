"""The kit tells every broken participant from a good one, by the case that is about what it lacks."""

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from cli.conformance import race_cases
from cli.conformance.case import Case, Section
from cli.conformance.cases import CASES
from cli.conformance.drive import Drive
from cli.conformance.report import Report, Result, Verdict, lines
from cli.conformance.runner import Serving, check
from cli.conformance.target import Target
from cli.outcome import Usage
from tests.integration.conformance.expected import ANSWERS, EXPIRY, RACES, Expected
from tests.integration.conformance.lacks import Lack
from tests.integration.conformance.participant import SLOW_DISKS, ToyParticipant
from tests.ports import free_port

WAITING = tuple(case for case in CASES if case.waits)
RACING = race_cases.CASES
IN_TURN = tuple(case for case in CASES if case not in WAITING and case not in RACING)

NEEDS_A_STACK = "expired-at-a-running-coordinator"
"""tests/e2e/test_conformance.py has it fail."""


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    # What the broken ones log when they fail is not the tests' business.
    caplog.set_level(logging.CRITICAL, "aiohttp.server")


async def test_a_participant_that_lacks_nothing_passes() -> None:
    report = await run(None, CASES, patience=20.0)

    assert failures(report) == {}
    assert {result.case.name for result in report.results if result.verdict is Verdict.SKIPPED} == {
        NEEDS_A_STACK
    }


async def test_nothing_stays_held_behind_the_kit() -> None:
    async with ToyParticipant().served() as toy:
        await check(target(toy), IN_TURN)

        assert toy.counters["held"] == 0
        assert toy.counters["free"] + toy.counters["kept"] == 1_000


async def test_unwatched_effects_are_told_of() -> None:
    async with ToyParticipant(Lack.ONE_HOLD).served() as toy:
        report = await check(replace(target(toy), watch=None), IN_TURN)

    assert failures(report) == {}
    assert report.conforms
    assert any("nothing was watched" in line for line, _ in lines(report))


async def test_one_that_goes_away_fails_and_does_not_hang() -> None:
    async with AsyncExitStack() as serving:
        toy = await serving.enter_async_context(ToyParticipant().served())

        async def go_away(drive: Drive) -> None:
            branch = await drive.branch()
            await drive.tried(branch)
            await serving.aclose()
            await drive.confirmed(branch)

        case = Case("goes-away", Section.CONFIRM, "stops it", "an answer", go_away)
        report = await check(replace(target(toy), watch=None, patience=0.2), [case, IN_TURN[0]])

    assert [result.verdict for result in report.results] == [Verdict.FAILED, Verdict.FAILED]
    assert "the answer to Confirm stayed unknown for 0.2 s: no answer" in report.results[0].seen
    assert "stayed unknown for 3 s: no answer" in report.results[0].left[0]


async def test_a_port_that_is_taken_is_misuse() -> None:
    async with ToyParticipant().served() as toy:
        taken = int(toy.url.split(":")[2].split("/")[0])
        with pytest.raises(Usage, match="can't be a coordinator"):
            await check(target(toy), IN_TURN, serving=Serving("127.0.0.1", taken))


@pytest.mark.parametrize("lack", ANSWERS, ids=lambda lack: lack.name.lower())
async def test_a_broken_answer_fails_its_case(lack: Lack) -> None:
    expect(await run(lack, IN_TURN), ANSWERS[lack])


@pytest.mark.parametrize("lack", RACES, ids=lambda lack: lack.name.lower())
async def test_a_missing_lock_fails_its_race(lack: Lack) -> None:
    race = [case for case in RACING if case.name == RACES[lack].case]
    for disk in SLOW_DISKS:
        report = await run(lack, race, disk=disk)
        if not report.conforms:
            break

    assert RACES[lack].seen in failures(report)[RACES[lack].case].seen


@pytest.mark.parametrize("lack", EXPIRY, ids=lambda lack: lack.name.lower())
async def test_a_broken_expiry_fails_its_case(lack: Lack) -> None:
    expect(await run(lack, WAITING, patience=3.0), EXPIRY[lack])


def test_every_lack_is_tried_and_every_case_can_fail() -> None:
    expected = ANSWERS | RACES | EXPIRY

    assert set(expected) == set(Lack)
    assert {one.case for one in expected.values()} == {case.name for case in CASES} - {NEEDS_A_STACK}


async def run(
    lack: Lack | None, cases: Sequence[Case], *, disk: float = 0.0, patience: float = 1.0
) -> Report:
    port = free_port()
    async with ToyParticipant(lack, f"http://127.0.0.1:{port}", disk).served() as toy:
        chosen = replace(target(toy), patience=patience)
        return await check(chosen, cases, serving=Serving("127.0.0.1", port))


def target(toy: ToyParticipant) -> Target:
    return Target(
        collection=toy.url,
        claim={"count": 1},
        refused_claim={"count": 1_000_000},
        watch=toy.counters_url,
        expiry=0.2,
        patience=1.0,
    )


def failures(report: Report) -> dict[str, Result]:
    return {result.case.name: result for result in report.results if result.verdict is Verdict.FAILED}


def expect(report: Report, expected: Expected) -> None:
    failed = failures(report)

    assert set(failed) == {expected.case} | expected.also, [result.seen for result in failed.values()]
    result = failed[expected.case]
    assert expected.seen in result.seen
    assert result.shown is not None
    assert result.shown.request_lines()
    assert result.shown.answer_lines()
