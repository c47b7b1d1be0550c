"""One request to a participant and its answer, and how an answer breaks the contract."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shared.tcc.protocol import Sort, sort_answer

SHOWN_BODY: Final = 2_000
"""A body is shown up to so many characters."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and what came back. label: what it was for; status None: no answer came, error says why."""

    label: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: str | None
    status: int | None
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    answer: str = ""
    error: str | None = None

    @property
    def sort(self) -> Sort:
        return Sort.UNKNOWN if self.status is None else sort_answer(self.status)

    @property
    def outcome(self) -> str:
        """The status, or why there is none."""
        return str(self.status) if self.status is not None else f"no answer ({self.error})"

    def document(self) -> Any:
        """Return the answer's JSON, or None where it is none."""
        try:
            return json.loads(self.answer)
        except (ValueError, RecursionError):
            return None

    def request_lines(self) -> list[str]:
        """The request as it was sent."""
        lines = [f"{self.method} {self.url}", *(f"{name}: {value}" for name, value in self.headers.items())]
        return lines if self.body is None else [*lines, "", self.body[:SHOWN_BODY]]

    def answer_lines(self) -> list[str]:
        """The answer as it came."""
        lines = [self.outcome, *(f"{name}: {value}" for name, value in self.answer_headers.items())]
        return [*lines, "", self.answer[:SHOWN_BODY]] if self.answer else lines


class Violation(Exception):
    """The contract was broken. seen: how; exchange: the request and answer that show it, if one does."""

    def __init__(self, seen: str, exchange: Exchange | None = None) -> None:
        super().__init__(seen)
        self.seen = seen
        self.exchange = exchange


class Skipped(Exception):
    """A case can't be driven; its text is why, and what to give the kit so that it can."""


def expect_done(exchange: Exchange, what: str) -> None:
    """Raise Violation unless the answer is done (2xx but 202)."""
    if exchange.sort is not Sort.DONE:
        raise Violation(f"{what}: expected a 2xx (but 202), saw {exchange.outcome}", exchange)


def expect_refused(exchange: Exchange, what: str, status: int | None = None) -> None:
    """Raise Violation unless the answer is refused: a 4xx that isn't retried, with that status if given."""
    if status is None and exchange.sort is not Sort.REFUSED:
        raise Violation(
            f"{what}: expected a refusal (4xx but 408, 425, 429), saw {exchange.outcome}", exchange
        )
    if status is not None and exchange.status != status:
        raise Violation(f"{what}: expected {status}, saw {exchange.outcome}", exchange)


def expect_not_refused(exchange: Exchange, what: str) -> None:
    """Raise Violation where the answer is refused: done, or unknown and to be asked again, is fine."""
    if exchange.sort is Sort.REFUSED:
        raise Violation(f"{what}: expected no refusal, saw {exchange.outcome}", exchange)
