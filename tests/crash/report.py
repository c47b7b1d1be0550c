"""The report of the crash matrix: a table for people, JSON for programs, and the section of docs/proof.md."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.crash.cases import Case
from tests.crash.points import SEAMS
from tests.crash.rehearse import FINAL_WITHIN, Result
from tests.proof_page import PAGE, put_between

BEGIN: Final = "<!-- crash matrix: written by `python -m tests.crash.matrix --write` -->"
END: Final = "<!-- end of the crash matrix -->"
BEGIN_TAKEN_OVER: Final = (
    "<!-- crash matrix on PostgreSQL: written by "
    "`python -m tests.crash.matrix --postgres --instances 2 --write` -->"
)
END_TAKEN_OVER: Final = "<!-- end of the crash matrix on PostgreSQL -->"


def line_of(result: Result) -> str:
    """Return a result in a line, and what was wrong below it."""
    case = result.case
    seconds = _seconds(result)
    verdict = "as required" if result.passed else "NOT AS REQUIRED"
    named = f"{case.name} ({case.victim} {result.pid or 'not'} killed)"
    return "\n".join([f"{named:<58} {seconds:>8}  {verdict}", *(f"    {one}" for one in result.wrong)])


def summary_of(results: Sequence[Result], took: float) -> str:
    """Return the last line of the report. took: seconds, for all."""
    surprises = sum(not result.passed for result in results)
    points = len({result.case.point for result in results})
    return (
        f"{len(results)} kills at {points} points in {took:.0f} s, {surprises} surprises; "
        f"all final at most {_slowest(results):.1f} s after healing"
    )


def as_json(results: Sequence[Result], took: float) -> dict[str, Any]:
    """Return the whole report. Times are seconds."""
    return {
        "cases": [_case_as_json(result) for result in results],
        "points": len({result.case.point for result in results}),
        "surprises": sum(not result.passed for result in results),
        "slowestSeconds": round(_slowest(results), 1),
        "tookSeconds": round(took, 1),
    }


def write_json(path: Path, results: Sequence[Result], took: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json(results, took), indent=2) + "\n", encoding="utf-8")


def write_section(results: Sequence[Result], *, taken_over: bool, page: Path = PAGE) -> None:
    """Put the table into the page, between the marks that are there already.

    taken_over: by another instance, so that there was no scene.
    """
    if taken_over:
        put_between(BEGIN_TAKEN_OVER, END_TAKEN_OVER, short_table_of(results), page)
    else:
        put_between(BEGIN, END, table_of(results), page)


def table_of(results: Sequence[Result]) -> str:
    """Return the table in Markdown, in the order of the points."""
    head = "| crash point | killed | durable at that moment | required result | final after | verdict |"
    return "\n".join([head, "|---|---|---|---|---|---|", *map(_row, _by_point(results))])


def short_table_of(results: Sequence[Result]) -> str:
    """Return the table without what is the same whoever goes on."""
    rows = (
        f"| {one.case.point.value} | {one.case.victim} | {one.case.end} | {_seconds(one)} | {_verdict(one)} |"
        for one in _by_point(results)
    )
    return "\n".join(
        ["| crash point | killed | end | final after | verdict |", "|---|---|---|---|---|", *rows]
    )


def _by_point(results: Sequence[Result]) -> list[Result]:
    points = list(SEAMS)
    return sorted(results, key=lambda result: points.index(result.case.point))


def _row(result: Result) -> str:
    case = result.case
    told = (case.point.value, case.victim, _in_words(case.scene), case.required)
    return f"| {' | '.join((*told, _seconds(result), _verdict(result)))} |"


def _seconds(result: Result) -> str:
    return "never" if result.seconds is None else f"{result.seconds:.1f} s"


def _verdict(result: Result) -> str:
    return "ok" if result.passed else "**surprise**"


def _in_words(scene: Mapping[str, str | None]) -> str:
    return "; ".join(f"{name}: {'-' if value is None else value}" for name, value in scene.items())


def _case_as_json(result: Result) -> dict[str, Any]:
    case: Case = result.case
    return {
        "case": case.name,
        "point": case.point.name,
        "what": case.point.value,
        "killed": case.victim,
        "pid": result.pid,
        "scene": dict(case.scene),
        "required": case.required,
        "end": case.end,
        "finalAfterSeconds": None if result.seconds is None else round(result.seconds, 1),
        "limitSeconds": FINAL_WITHIN,
        "wrong": result.wrong,
    }


def _slowest(results: Sequence[Result]) -> float:
    return max((result.seconds or 0.0 for result in results), default=0.0)
