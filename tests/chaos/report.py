"""The report of a run: the figures for people, the same as JSON, and the section of docs/proof.md."""

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rich.table import Table

from tests.chaos.chaos import Case, Outcome
from tests.chaos.plan import Kind
from tests.proof_page import put_between

BEGIN: Final = "<!-- chaos: begin (written by `make chaos ARGS=--write`) -->"
END: Final = "<!-- chaos: end -->"
BEGIN_ON_SERVER: Final = (
    "<!-- chaos on PostgreSQL: begin (written by `make chaos ARGS='--postgres --instances 2 --write'`) -->"
)
END_ON_SERVER: Final = "<!-- chaos on PostgreSQL: end -->"
INTRODUCTION: Final = """\
`make chaos` starts a stack whose programs call each other through proxies, with customers who come through
one too. While they order, hold, pay, call off and reserve, processes are killed, restarted and stopped past
every lease, the broker is emptied, and connections misbehave, by a plan that is drawn from a seed. Then all
is healed. Everything has to become final, hold the invariants of `tests/invariants.py`, be as the customers
were told and answer them again as before; nothing may have ended by itself, logged an error or become a
dead letter. The plan of a seed is always the same; the timing of real processes is not. A short form runs
with the tests (`tests/e2e/test_chaos.py`)."""
INTRODUCTION_ON_SERVER: Final = """\
`make chaos ARGS='--postgres --instances 2'` is the same with the data in PostgreSQL and several instances of
every program. The server is one more to be killed, restarted and stopped (`database`), and dies with
everybody else in a blackout; a proxy stands before it too, so that its connections are reset, cut in the
middle of a statement or of a commit's answer, late, or silent. A program that finds no server as it starts
ends and is started again, which is no alarm."""
EXPLAINED: Final = {
    Kind.KILL: "SIGKILL; started again by the supervisor, the broker without its records",
    Kind.RESTART: "SIGTERM in the middle of the work",
    Kind.BLACKOUT: "SIGKILL to all processes at once",
    Kind.PAUSE: "SIGSTOP past every lease, then SIGCONT",
    Kind.DROP: "connections reset as soon as they are used",
    Kind.CUT: "connections reset after so many bytes, of a request or an answer",
    Kind.DELAY: "bytes late by up to 3 s, where a Try may take 2 s",
    Kind.HOLD: "connections open and silent; what was sent arrives when nobody waits any more",
}


@dataclass(frozen=True, slots=True)
class Report:
    """A case and its outcome."""

    case: Case
    outcome: Outcome

    def json(self) -> dict[str, Any]:
        """Return all of it as plain values, the plan among them."""
        return {
            "machine": _machine(),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": self.case.seed,
            "form": asdict(self.case.form),
            "onServer": self.case.on_server,
            "instances": self.case.instances,
            "settings": dict(self.case.settings),
            "plan": [asdict(trouble) for trouble in self.case.plan],
            **asdict(self.outcome),
        }

    def figures(self) -> Iterator[tuple[str, str]]:
        """Yield what was counted, as pairs of a name and a value."""
        one, seconds = self.outcome, self.case.form.seconds
        if self.case.on_server:
            yield "instances of each program", str(self.case.instances)
        yield "seed, and seconds of troubles", f"{self.case.seed}, {seconds:.0f}"
        yield "orders", f"{one.orders:,} ({one.confirmed:,} confirmed, {one.cancelled:,} cancelled)"
        yield "transactions, reservations", f"{one.transactions:,}, {one.reservations:,}"
        yield "requests that customers had to repeat", f"{one.repeats:,}"
        yield "troubles that struck", f"{sum(self.times().values()):,} of {len(self.case.plan):,}"
        yield "pauses that nobody's end cut short", f"{one.whole_pauses:,}"
        yield "processes started again", _listed(one.ends)
        yield "connections through the proxies", f"{one.connections:,}"
        yield "connections or parts of them struck", _listed(one.hit)
        yield "all programs ready after", f"{one.ready_seconds:.1f} s"
        yield "everything final after", f"{one.final_seconds:.1f} s"
        yield "final orders placed again, answered as before", f"{one.placed_again:,}"
        yield "violations", f"{len(one.violations):,}"

    def times(self) -> dict[Kind, int]:
        """Return how many troubles struck, by kind."""
        return {kind: sum(self.outcome.struck.get(kind, {}).values()) for kind in Kind}

    def tables(self) -> Iterator[Table]:
        """Yield the figures, and the troubles by kind, for a terminal."""
        figures = Table("what", "how much", title="chaos")
        for row in self.figures():
            figures.add_row(*row)
        yield figures
        troubles = Table("trouble", "times", "whom", title="what went wrong")
        for kind, times in self.times().items():
            troubles.add_row(kind, str(times), _listed(self.outcome.struck.get(kind, {})))
        yield troubles

    def section(self) -> str:
        """Return the section for docs/proof.md."""
        introduction = INTRODUCTION_ON_SERVER if self.case.on_server else f"## Chaos\n\n{INTRODUCTION}"
        lines = [
            introduction,
            "",
            f"Measured on {_machine()}, on {datetime.now(UTC):%Y-%m-%d}, with "
            + (f"{_listed(self.case.settings)}:" if self.case.settings else "the default settings:"),
            "",
            *_table(("what", "how much"), self.figures()),
            "",
            "| trouble | times | whom | what it is |",
            "|---|---|---|---|",
            *(
                f"| {kind} | {times} | {_listed(self.outcome.struck.get(kind, {}))} | {EXPLAINED[kind]} |"
                for kind, times in self.times().items()
            ),
        ]
        return "\n".join(lines)

    def write(self) -> None:
        """Put the section into docs/proof.md."""
        marks = (BEGIN_ON_SERVER, END_ON_SERVER) if self.case.on_server else (BEGIN, END)
        put_between(*marks, self.section())


def _table(head: tuple[str, str], rows: Iterator[tuple[str, str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---|---|"
    yield from (f"| {name} | {value} |" for name, value in rows)


def _listed(counts: Any) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _machine() -> str:
    python = platform.python_version()
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {python}"
