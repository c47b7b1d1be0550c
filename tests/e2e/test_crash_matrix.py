"""The short form of the crash matrix: a few of its kills on a real stack; `make proof` makes them all."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tests.backing import Backing
from tests.crash.cases import CASES
from tests.crash.matrix import play
from tests.crash.points import Point
from tests.crash.rehearse import Result
from tests.crash.report import line_of

log = logging.getLogger(__name__)

SHORT = [case for case in CASES if case.short]
GOOD = next(case for case in SHORT if case.point is Point.SOME_TRIES_SENT)
MISTAKEN = replace(GOOD, variant="mistaken", scene={**GOOD.scene, "payment holds": "TRIED"}, end="CANCELLED")
"""A case that requires what can't be: the matrix must say so."""


@pytest.fixture(scope="module")
def results(backing: Backing, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    cases = [*SHORT, MISTAKEN]
    directory: Path = tmp_path_factory.mktemp("crash")
    played = asyncio.run(
        play(cases, directory, backing, hasty=True, say=lambda result: log.info("%s", line_of(result)))
    )
    return {result.case.name: result for result in played}


@pytest.mark.parametrize("name", [case.name for case in SHORT])
def test_a_kill_at_a_crash_point_ends_as_required(results: dict[str, Result], name: str) -> None:
    result = results[name]
    assert result.wrong == []
    assert result.pid is not None
    assert result.seconds is not None


def test_what_does_not_end_as_required_is_a_surprise(results: dict[str, Result]) -> None:
    name = MISTAKEN.name
    assert results[name].wrong == [
        "at the scene, payment holds is None instead of TRIED",
        f"{name}: transaction is CONFIRMED",
        f"{name}: order is CONFIRMED",
        *(
            f"{name}: {one} {what} is CONFIRMED"
            for one in ("order", "stock", "payment")
            for what in ("branch", "holds")
        ),
        f"{name}: the transaction is CONFIRMED",
    ]


def test_the_short_form_kills_every_kind_of_program() -> None:
    assert {case.victim for case in SHORT} >= {"coordinator", "order", "stock"}
    assert len({case.point for case in SHORT}) >= 5
    assert Point.DECIDED_UNPUBLISHED in {case.point for case in SHORT}
