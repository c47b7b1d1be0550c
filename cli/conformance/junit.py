"""A report as JUnit XML, which build servers read."""

import re
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from cli.conformance.report import Report, Result, Verdict

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(path: Path, report: Report) -> None:
    """Write the report to a file. Raises OSError where that can't be written."""
    suite = Element(
        "testsuite",
        name=_clean(f"conformance of {report.url}"),
        tests=str(len(report.results)),
        failures=str(report.count(Verdict.FAILED)),
        skipped=str(report.count(Verdict.SKIPPED)),
        errors="0",
        time=f"{report.seconds:.3f}",
    )
    for result in report.results:
        suite.append(_testcase(result))
    suites = Element("testsuites")
    suites.append(suite)
    indent(suites)
    ElementTree(suites).write(path, encoding="utf-8", xml_declaration=True)


def _testcase(result: Result) -> Element:
    case = Element(
        "testcase",
        classname="conformance",
        name=result.case.name,
        time=f"{result.seconds:.3f}",
    )
    if result.verdict is Verdict.SKIPPED:
        SubElement(case, "skipped", message=_clean(result.seen))
    elif result.verdict is Verdict.FAILED:
        failure = SubElement(case, "failure", message=_clean(result.seen), type="Violation")
        told = [
            result.case.does,
            f"contract: {result.case.contract} ({result.case.section.reference})",
            f"seen: {result.seen}",
        ]
        if result.shown is not None:
            told += ["", "request:", *result.shown.request_lines()]
            told += ["", "answer:", *result.shown.answer_lines()]
        failure.text = _clean("\n".join(told))
    for left in result.left:
        SubElement(case, "system-out").text = _clean(f"still held: {left}")
    return case


def _clean(text: str) -> str:
    """Leave out what XML can't carry."""
    return _NOT_XML.sub("?", text)
