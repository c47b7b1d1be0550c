"""What a participant checks in its own database: whether its counters say what the rows say they stand for.

An `Auditor` looks for one kind of thing and yields what it finds in the order of its places, so that a long
list is read in pages and neither side keeps it whole. `LedgerAudit` is the usual one: counters against sums,
both read by one statement and so on one snapshot; nothing in it can be merely late.

A counter that follows from other rows is repaired by counting again, in one local transaction. What follows
from nothing else (what is on hand, what a balance is) is shown to a person.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection

from shared.clock import Clock, Millis
from shared.database.port import Database

PAGE: Final = 100
"""How many subjects are looked at, or counted again, at a time."""

R = TypeVar("R")


class Verdict(StrEnum):
    """What is to be done about a discrepancy."""

    REPAIRABLE = "repairable"  # what it should be follows from other rows
    PERSON = "person"  # nothing says which side is right: somebody has to look


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """Two things that should agree and don't.

    kind: a slug; subject: what it concerns, as a person would name it; evidence: plain JSON that shows it;
    place: where it stands among its auditor's findings, for going on after it; repaired: whether it is right
    now, durably.
    """

    kind: str
    subject: str
    verdict: Verdict
    place: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    repaired: bool = False


class Auditor(Protocol):
    """Checks one thing. name: an id, unique within the program."""

    @property
    def name(self) -> str: ...

    def audit(self, *, repair: bool, after: str, most: int) -> AsyncIterator[Discrepancy]:
        """Yield what is wrong at up to `most` places, in their order, behind `after` ("": from the start).

        repair: set right what follows from other rows, each in one local transaction that looks again first,
        and nothing that isn't told of. Raises Transient where the check can't be made now.
        """
        ...


class Ledger(NamedTuple, Generic[R]):
    """Counters, and the rows that they stand for.

    differing: reads up to so many subjects behind a place whose counters differ from their sums, by place;
    judge: says what is wrong with one of them, all at the same place; lock: holds the subjects' rows;
    recount: sets one's counters to its sums, as far as these are possible, and says whether it did.
    """

    name: str
    differing: Callable[[Connection, str, int], Sequence[R]]
    judge: Callable[[R], Sequence[Discrepancy]]
    lock: Callable[[Connection, Sequence[R]], None]
    recount: Callable[[Connection, R, Millis], bool]


def evidence_of(differences: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Return counters that differ, given as (is, should be), as evidence."""
    return {name: {"is": found, "shouldBe": due} for name, (found, due) in differences.items()}


class LedgerAudit(Generic[R]):
    """The Auditor of one ledger."""

    def __init__(self, ledger: Ledger[R], database: Database, clock: Clock) -> None:
        self.name = ledger.name
        self._ledger = ledger
        self._database = database
        self._clock = clock

    async def audit(self, *, repair: bool, after: str, most: int) -> AsyncIterator[Discrepancy]:
        while most > 0:
            wanted = min(PAGE, most)
            rows, judged = await self._page(after, wanted)
            repaired = await self._recount(after, wanted, rows, judged) if repair else frozenset()
            for found in judged:
                mended = found.verdict is Verdict.REPAIRABLE and found.place in repaired
                yield replace(found, repaired=mended)
            if len(rows) < wanted:
                return
            after = judged[-1].place
            most -= wanted

    async def _page(self, after: str, most: int) -> tuple[Sequence[R], list[Discrepancy]]:
        rows = await self._database.read(lambda connection: self._ledger.differing(connection, after, most))
        return rows, [found for row in rows for found in self._ledger.judge(row)]

    async def _recount(
        self, after: str, most: int, rows: Sequence[R], judged: Sequence[Discrepancy]
    ) -> frozenset[str]:
        """Count a page's subjects again; return the places of those that are right now."""
        wanted = {found.place for found in judged if found.verdict is Verdict.REPAIRABLE}
        if not wanted:
            return frozenset()

        def work(connection: Connection) -> frozenset[str]:
            # Once their rows are held, whoever changes a counter comes before this or after it, wholly.
            self._ledger.lock(connection, rows)
            now = self._clock.now()
            current = self._ledger.differing(connection, after, most)
            places = [(self._ledger.judge(row)[0].place, row) for row in current]
            return frozenset(
                place
                for place, row in places
                if place in wanted and self._ledger.recount(connection, row, now)
            )

        return await self._database.write(work)
