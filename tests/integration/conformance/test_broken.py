"""The kit tells every broken participant from a good one, by the case that is about what it lacks."""

import logging
from collections.abc import Sequence

import pytest

from cli.conformance import race_cases
from cli.conformance.case import Case
from cli.conformance.cases import CASES
from cli.conformance.report import Report, Result, Verdict
from cli.conformance.runner import Serving, check
from cli.conformance.target import Target
from tests.integration.conformance.expected import ANSWERS, EXPIRY, RACES, Expected
from tests.integration.conformance.lacks import Lack
from tests.integration.conformance.participant import SLOW_DISK, ToyParticipant
from tests.integration.conftest import free_port

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
    report = await run(None, CASES)

    assert failures(report) == {}
    assert {result.case.name for result in report.results if result.verdict is Verdict.SKIPPED} == {
        NEEDS_A_STACK
    }


async def test_nothing_stays_held_behind_the_kit() -> None:
    async with ToyParticipant().served() as toy:
        await check(target(toy), IN_TURN)

        assert toy.counters["held"] == 0
        assert toy.counters["free"] + toy.counters["kept"] == 1_000


@pytest.mark.parametrize("lack", ANSWERS, ids=lambda lack: lack.name.lower())
async def test_a_broken_answer_fails_its_case(lack: Lack) -> None:
    expect(await run(lack, IN_TURN), ANSWERS[lack])


@pytest.mark.parametrize("lack", RACES, ids=lambda lack: lack.name.lower())
async def test_a_missing_lock_fails_its_race(lack: Lack) -> None:
    result = failures(await run(lack, RACING, SLOW_DISK))[RACES[lack].case]

    assert RACES[lack].seen in result.seen


@pytest.mark.parametrize("lack", EXPIRY, ids=lambda lack: lack.name.lower())
async def test_a_broken_expiry_fails_its_case(lack: Lack) -> None:
    expect(await run(lack, WAITING), EXPIRY[lack])


def test_every_lack_is_tried_and_every_case_can_fail() -> None:
    expected = ANSWERS | RACES | EXPIRY

    assert set(expected) == set(Lack)
    assert {one.case for one in expected.values()} == {case.name for case in CASES} - {NEEDS_A_STACK}


async def run(lack: Lack | None, cases: Sequence[Case], disk: float = 0.0) -> Report:
    port = free_port()
    async with ToyParticipant(lack, f"http://127.0.0.1:{port}", disk).served() as toy:
        return await check(target(toy), cases, serving=Serving("127.0.0.1", port))


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
