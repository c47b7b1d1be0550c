"""What a run has seen, for people (lines) and for programs (JSON)."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from cli.conformance.case import Case
from cli.conformance.exchange import Exchange


class Verdict(StrEnum):
    """How a case ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a case. shown: the request and answer that show a failure; left: what is still held."""

    case: Case
    verdict: Verdict
    seen: str
    seconds: float
    shown: Exchange | None = None
    left: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return it as JSON for another program."""
        document: dict[str, Any] = {
            "name": self.case.name,
            "result": self.verdict.value,
            "does": self.case.does,
            "contract": self.case.contract,
            "section": self.case.section.reference,
            "seen": self.seen,
            "seconds": round(self.seconds, 3),
        }
        if self.shown is not None:
            document |= {"request": self.shown.request_lines(), "answer": self.shown.answer_lines()}
        if self.left:
            document["leftHeld"] = list(self.left)
        return document


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run. url: the participant's collection; seconds: how long it took; watched: whether effects
    were compared, not only answers."""

    url: str
    results: tuple[Result, ...]
    seconds: float
    watched: bool = True

    def count(self, verdict: Verdict) -> int:
        """Return how many cases ended so."""
        return sum(result.verdict is verdict for result in self.results)

    @property
    def conforms(self) -> bool:
        """Whether nothing failed, and something was checked at all."""
        return self.count(Verdict.FAILED) == 0 and self.count(Verdict.PASSED) > 0

    def document(self) -> dict[str, Any]:
        """Return it as JSON for another program."""
        return {
            "url": self.url,
            "conforms": self.conforms,
            **{verdict.value: self.count(verdict) for verdict in Verdict},
            "seconds": round(self.seconds, 3),
            "watched": self.watched,
            "cases": [result.document() for result in self.results],
        }


STYLES: Final = {Verdict.PASSED: "green", Verdict.FAILED: "red", Verdict.SKIPPED: "yellow"}


def lines(report: Report) -> Iterator[tuple[str, str | None]]:
    """Yield the report line by line, each with a style for a terminal."""
    width = max((len(result.case.name) for result in report.results), default=0)
    for result in report.results:
        told = f"{result.verdict.value:<7}  {result.case.name:<{width}}  {result.seen}"
        yield told, STYLES[result.verdict]
        if result.verdict is Verdict.FAILED:
            yield from ((line, None) for line in _explained(result))
        for left in result.left:
            yield f"         still held: {left}", "yellow"
    if not report.watched:
        yield "", None
        yield "nothing was watched: answers were checked, their effects were not (--watch URL)", "yellow"
    counted = ", ".join(f"{report.count(verdict)} {verdict.value}" for verdict in Verdict)
    yield "", None
    yield f"{report.url}: {counted} ({report.seconds:.1f} s)", None


def _explained(result: Result) -> Iterator[str]:
    """Say of a failure what was done, what should have come of it, and what was sent and answered."""
    yield f"         the case  {result.case.does}"
    yield f"         contract  {result.case.contract} ({result.case.section.reference})"
    if result.shown is not None:
        yield from _marked("request", result.shown.request_lines())
        yield from _marked("answer", result.shown.answer_lines())


def _marked(what: str, shown: list[str]) -> Iterator[str]:
    # What came may have lines of its own.
    for number, line in enumerate("\n".join(shown).splitlines()):
        yield f"         {what if number == 0 else '':<8}  {line}".rstrip()
