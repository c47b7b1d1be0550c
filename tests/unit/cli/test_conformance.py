"""`handfast conformance`: its options, its reports, and that the page says what it checks."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cli.conformance.case import Case, Section
from cli.conformance.cases import CASES
from cli.conformance.drive import Drive
from cli.conformance.exchange import Exchange
from cli.conformance.junit import write_junit
from cli.conformance.report import Report, Result, Verdict, lines
from cli.conformance.target import Target, filled
from cli.launcher import ROOT
from tests.ports import free_port
from tests.unit.cli.conftest import Run

PAGE = ROOT / "docs" / "participants.md"
CLAIM = ("--claim", '{"a":1}')


async def nothing(_drive: Drive) -> None:
    raise AssertionError("not meant to run")


CASE = Case("a-case", Section.TRY, "does something", "something comes back", nothing)
SHOWN = Exchange(
    "Try",
    "POST",
    "http://here/things",
    {"TCC-Branch-Id": "b-1"},
    '{"a": 1}',
    500,
    {"content-type": "text/plain"},
    "went \x1b[31mwrong\x00 & <so>",
)
REPORT = Report(
    "http://here/things",
    (
        Result(CASE, Verdict.PASSED, "Try 201", 0.1),
        Result(CASE, Verdict.FAILED, "expected 201, saw 500", 0.2, SHOWN, ("branch b-1",)),
        Result(CASE, Verdict.SKIPPED, "give --watch", 0.0),
    ),
    0.3,
)


@pytest.mark.parametrize("section", Section)
def test_the_page_names_every_case_in_its_section(section: Section) -> None:
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {section.value}\n")[1].split("\n## ")[0]
    listed = re.search(r"^Cases: (.*?)\.$", text, re.MULTILINE | re.DOTALL)

    assert listed is not None
    assert set(re.findall(r"`([a-z-]+)`", listed[1])) == {c.name for c in CASES if c.section is section}


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_cases_are_listed(run: Run) -> None:
    ended = run("conformance", "--list", "--json")

    assert ended.code == 0
    assert [item["name"] for item in json.loads(ended.out)["items"]] == [case.name for case in CASES]
    assert "try-holds\t" in run("conformance", "--list").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give the URL"),
        (("http://127.0.0.1:1/x",), "give the URL"),
        (("127.0.0.1:1/x", *CLAIM), "is no http URL"),
        (("http://127.0.0.1:99999/x", *CLAIM), "is no http URL"),
        (("http://[::1/x", *CLAIM), "is no http URL"),
        (("http://127.0.0.1:1/x?y=1", *CLAIM), "has to be a collection"),
        (("http://127.0.0.1:1/x", *CLAIM, "--watch", "x"), "--watch: 'x' is no http URL"),
        (("http://127.0.0.1:1/x", *CLAIM, "--patience", "inf"), "--patience"),
        (("http://127.0.0.1:1/x", "--claim", "{"), "this is no JSON"),
        (("http://127.0.0.1:1/x", "--claim", "[]"), "has to be a JSON object"),
        (("http://127.0.0.1:1/x", "--claim", "@nowhere.json"), "can't be read"),
        (("http://127.0.0.1:1/x", *CLAIM, "--case", "nonsense"), "no such case: nonsense"),
        (("http://127.0.0.1:1/x", *CLAIM, "--serve-coordinator", "x"), "is no port"),
        (("http://127.0.0.1:1/x", *CLAIM, "--begin", "http://127.0.0.1:1/y"), "who decides"),
        (
            (
                "http://127.0.0.1:1/x",
                *CLAIM,
                "--coordinator",
                "http://127.0.0.1:1",
                "--serve-coordinator",
                "1",
            ),
            "exclude each other",
        ),
    ],
)
def test_misuse_ends_with_2(run: Run, arguments: tuple[str, ...], said: str) -> None:
    ended = run("conformance", *arguments)

    assert ended.code == 2
    assert said in ended.err


def test_nobody_there_ends_with_4(run: Run) -> None:
    ended = run("conformance", f"http://127.0.0.1:{free_port()}/things", *CLAIM)

    assert ended.code == 4
    assert "gives no usable answer" in ended.err


def test_a_failure_says_what_was_sent_and_answered() -> None:
    told = "\n".join(line for line, _ in lines(REPORT))

    assert "failed   a-case  expected 201, saw 500" in told
    assert "contract  something comes back (docs/participants.md#try)" in told
    assert "request   POST http://here/things" in told
    assert "TCC-Branch-Id: b-1" in told
    assert "answer    500" in told
    assert "still held: branch b-1" in told
    assert "skipped  a-case  give --watch" in told
    assert "1 passed, 1 failed, 1 skipped" in told
    assert not REPORT.conforms


def test_nothing_checked_is_no_conformance() -> None:
    assert not Report("http://here", (Result(CASE, Verdict.SKIPPED, "why", 0.0),), 0.0).conforms


def test_the_json_report_has_what_the_lines_have() -> None:
    document = REPORT.document()

    assert (document["passed"], document["failed"], document["skipped"]) == (1, 1, 1)
    failed = document["cases"][1]
    assert failed["request"][0] == "POST http://here/things"
    assert failed["answer"][0] == "500"
    assert failed["leftHeld"] == ["branch b-1"]


def test_junit_is_xml_whatever_was_answered(tmp_path: Path) -> None:
    write_junit(tmp_path / "report.xml", REPORT)
    suite = ElementTree.parse(tmp_path / "report.xml").getroot()[0]  # noqa: S314 - our own file

    assert {name: suite.get(name) for name in ("tests", "failures", "skipped", "errors")} == {
        "tests": "3",
        "failures": "1",
        "skipped": "1",
        "errors": "0",
    }
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "expected 201, saw 500"
    assert failure.text is not None
    assert "went ?[31mwrong? & <so>" in failure.text
    skipped = suite.find("testcase/skipped")
    assert skipped is not None
    assert skipped.get("message") == "give --watch"


def test_placeholders_stand_for_what_the_answer_named() -> None:
    claim = {"orderId": "{orderId}", "more": [{"of": "{orderId}-{other}"}], "n": 1}

    assert filled(claim, {"orderId": "o-1"}) == {"orderId": "o-1", "more": [{"of": "o-1-{other}"}], "n": 1}


def test_another_claim_is_one_more_of_the_first_number() -> None:
    def differing(claim: object, **more: object) -> object:
        return Target(collection="", claim=claim, **more).differing_claim  # type: ignore[arg-type]

    assert differing({"on": True, "items": [{"id": "p", "qty": 1}, {"qty": 5}]}) == {
        "on": True,
        "items": [{"id": "p", "qty": 2}, {"qty": 5}],
    }
    assert differing({"a": "b"}) is None
    assert differing({"a": "b"}, refused_claim={"a": "c"}) == {"a": "c"}
    assert differing({"a": 1}, other_claim={"a": 9}) == {"a": 9}
