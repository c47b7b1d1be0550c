"""The table of crash points fits the programs: no seam, no argument of one, and no point's case is gone."""

import ast
import inspect
from pathlib import Path

import pytest

from tests.crash.cases import CASES
from tests.crash.points import SEAMS, Point, Wait
from tests.crash.rehearse import Result
from tests.crash.report import table_of
from tests.crash.seams import When
from tests.proof_page import PAGE
from tests.unit.repo.settings_page import ROOT

PRODUCT = ("shared", "coordinator", "order_service", "stock_service", "payment_service", "cli")
every_seam = pytest.mark.parametrize("place", SEAMS, ids=lambda place: place.name)


@every_seam
def test_the_seam_of_a_point_is_there(place: Point | Wait) -> None:
    _, _, function = SEAMS[place].find()
    if place not in (Point.INSIDE_TRY, Point.REBALANCED, Point.REPLAY_CUT_SHORT):
        # These three are in the middle of what doesn't wait; all others are where a program waits.
        assert inspect.iscoroutinefunction(function)


@every_seam
def test_what_a_seam_looks_at_is_what_its_function_takes(place: Point | Wait) -> None:
    seam = SEAMS[place]
    _, _, function = seam.find()
    taken = list(inspect.signature(function).parameters)
    looked_at = [
        parameter.name.strip("_")
        for parameter in inspect.signature(seam.given).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    assert taken[: len(looked_at)] == looked_at


def test_every_point_and_every_wait_has_a_seam() -> None:
    assert set(SEAMS) == {*Point, *Wait}


@pytest.mark.parametrize("point", Point, ids=lambda point: point.name)
def test_every_point_has_a_case(point: Point) -> None:
    assert any(case.point is point for case in CASES)


def test_cases_have_names_of_their_own_and_victims_that_pass_their_points() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        assert case.victim in SEAMS[case.point].programs, case.name
        assert case.end in ("CONFIRMED", "CANCELLED"), case.name
        assert case.scene, case.name


def test_only_points_say_when() -> None:
    """Who waits does so before; what comes after has passed already."""
    assert {SEAMS[wait].when for wait in Wait} == {When.BEFORE}


@pytest.mark.parametrize("package", PRODUCT)
def test_the_programs_know_nothing_of_crash_points(package: str) -> None:
    """They cost nothing in production, because nothing of them is there."""
    imported = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in (ROOT / package).rglob("*.py")
        for name in _imports(path)
        if name.partition(".")[0] == "tests"
    }
    assert imported == set()


def test_the_page_shows_every_case() -> None:
    """Run `python -m tests.crash.matrix --write` where it doesn't."""
    shown = [_without_times(line) for line in PAGE.read_text(encoding="utf-8").splitlines()]
    for line in table_of([Result(case, seconds=1.0) for case in CASES]).splitlines():
        assert _without_times(line) in shown, line


def _without_times(line: str) -> str:
    cells = line.split(" | ")
    return " | ".join(cell for number, cell in enumerate(cells) if number != len(cells) - 2)


def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return names
