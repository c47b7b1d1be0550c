"""Reconciliations in the database: one run at a time, what each has found, and how far it is.

A run that is under way holds the one row whose `running` is 1, and touches it again and again. Whoever finds
it untouched for a lease takes it for dead: it is marked INTERRUPTED, and the next begins anew. A run that was
only paused finds out at its next touch, and stops.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import pydantic_core
from sqlalchemy import Connection, delete, select, update

from coordinator.tables import FINDING, RECONCILIATION
from shared.clock import Millis
from shared.database.port import insert_new
from shared.errors import NotFound, Transient

KEPT_RUNS: Final = 300
"""A day's, at one every five minutes. Older runs are deleted, with their findings."""
KEPT_FINDINGS: Final = 10_000
"""Of one run. What it finds beyond is repaired and counted like the rest, but not kept."""
MOST_PROBLEMS: Final = 100


class RunState(StrEnum):
    RUNNING = "RUNNING"  # -> DONE, FAILED, INTERRUPTED
    DONE = "DONE"  # as far as its problems let it
    FAILED = "FAILED"  # the coordinator's own database went away
    INTERRUPTED = "INTERRUPTED"  # the coordinator did


class Phase(StrEnum):
    """What a run is at."""

    PARTICIPANTS = "participants"  # what they have, compared with the log
    TRANSACTIONS = "transactions"  # the log, compared with what they have
    AUDITS = "audits"  # each participant, compared with itself
    VERIFYING = "verifying"  # whether repairs have come true
    ENDED = "ended"


class Superseded(Transient):
    """The run was taken for dead, and another may have begun."""


@dataclass(slots=True)
class Run:
    """A run as it is.

    counts: [found, repaired] by participant, kind and verdict; uncompared: branches of which a participant
    doesn't tell, by its name; total: how much there is to read, as far as it is known.
    """

    id: str
    dry_run: bool
    started_at: Millis
    updated_at: Millis
    state: RunState = RunState.RUNNING
    phase: Phase = Phase.PARTICIPANTS
    total: int = 0
    read: int = 0
    counts: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)
    uncompared: dict[str, int] = field(default_factory=dict)
    ended_at: Millis | None = None

    @property
    def found(self) -> int:
        return sum(found for found, _ in self.counts.values())

    @property
    def repaired(self) -> int:
        return sum(repaired for _, repaired in self.counts.values())

    def count(self, participant: str, kind: str, verdict: str) -> None:
        """Count something that was found."""
        self.counts.setdefault((participant, kind, verdict), [0, 0])[0] += 1

    def mend(self, participant: str, kind: str, verdict: str) -> None:
        """Count that something which was found is right since."""
        self.counts[participant, kind, verdict][1] += 1

    def trouble(self, participant: str, detail: str) -> None:
        """Note, once, that something could not be done."""
        problem = {"participant": participant, "phase": self.phase.value, "detail": detail[:500]}
        if problem not in self.problems and len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)


@dataclass(frozen=True, slots=True)
class Kept:
    """A finding as it is kept. repair: what was done about it; repaired: whether it is right since."""

    id: str
    reconciliation_id: str
    participant: str
    kind: str
    subject: str
    transaction_id: str | None
    branch_id: str | None
    verdict: str
    evidence: Mapping[str, Any]
    repair: str | None
    repaired: bool
    found_at: Millis


def begin(connection: Connection, run: Run, lease: Millis) -> Run | None:
    """Begin a run; where another is under way, write nothing and return that one."""
    dead = run.started_at - lease
    _end(connection, RECONCILIATION.c.updated_at < dead, RunState.INTERRUPTED, run.started_at)
    running = select(RECONCILIATION).where(RECONCILIATION.c.running == 1)
    while not insert_new(connection, RECONCILIATION, {"id": run.id, "running": 1, **_values(run)}):
        # Where several write at once, the one that was under way may have ended by now.
        row = connection.execute(running).one_or_none()
        if row is not None:
            return _run(row)
    _prune(connection)
    return None


def save(connection: Connection, run: Run, findings: Sequence[Kept] = ()) -> None:
    """Write how far a run is, and what it found since; raise Superseded where it isn't running any more."""
    _touch(connection, run.id, _values(run))
    if findings:
        connection.execute(FINDING.insert(), [_finding_values(one) for one in findings])


def beat(connection: Connection, run_id: str, now: Millis) -> None:
    """Say that a run is alive; raise Superseded where it isn't running any more."""
    _touch(connection, run_id, {"updated_at": now})


def end(connection: Connection, run: Run, state: RunState, now: Millis) -> None:
    """End a run, unless that was done already."""
    run.state, run.ended_at, run.updated_at = state, now, now
    own = RECONCILIATION.c.id == run.id
    values = {**_values(run), "running": None}
    connection.execute(update(RECONCILIATION).where(own, RECONCILIATION.c.running == 1).values(values))


def mend(connection: Connection, finding_ids: Sequence[str], **done: str) -> None:
    """Note of findings that they are right since. done: repair, where that wasn't known before."""
    connection.execute(update(FINDING).where(FINDING.c.id.in_(finding_ids)).values(repaired=True, **done))


def find(connection: Connection, run_id: str) -> Run:
    """Return a run; raise NotFound."""
    row = connection.execute(select(RECONCILIATION).where(RECONCILIATION.c.id == run_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no reconciliation {run_id}.", "unknown-reconciliation")
    return _run(row)


def latest(connection: Connection) -> Run | None:
    """Return the run that began last."""
    rows = page(connection, before=None, most=1)
    return rows[0] if rows else None


def page(connection: Connection, *, before: str | None, most: int) -> list[Run]:
    """Return runs, the newest first, that come after the given one in this order."""
    statement = select(RECONCILIATION).order_by(RECONCILIATION.c.id.desc()).limit(most)
    if before is not None:
        statement = statement.where(RECONCILIATION.c.id < before)
    return [_run(row) for row in connection.execute(statement)]


def findings(connection: Connection, run_id: str, *, after: str, most: int) -> list[Kept]:
    """Return what a run found, in that order, behind the given finding."""
    statement = select(FINDING).where(FINDING.c.reconciliation_id == run_id, FINDING.c.id > after)
    rows = connection.execute(statement.order_by(FINDING.c.id).limit(most))
    return [_kept(row) for row in rows]


def _touch(connection: Connection, run_id: str, values: Mapping[str, Any]) -> None:
    running = (RECONCILIATION.c.id == run_id, RECONCILIATION.c.running == 1)
    if connection.execute(update(RECONCILIATION).where(*running).values(values)).rowcount != 1:
        raise Superseded


def _end(connection: Connection, condition: Any, state: RunState, now: Millis) -> None:
    values = {"running": None, "state": state.value, "ended_at": now}
    connection.execute(update(RECONCILIATION).where(RECONCILIATION.c.running == 1, condition).values(values))


def _prune(connection: Connection) -> None:
    """Delete the oldest runs with their findings, but none that runs: its clock may have been set back."""
    ended = select(RECONCILIATION.c.id).where(RECONCILIATION.c.running.is_(None))
    old = list(connection.execute(ended.order_by(RECONCILIATION.c.id.desc()).offset(KEPT_RUNS - 1)).scalars())
    # By their ids, of which there is one as a rule: not all findings of a day are looked through for it.
    connection.execute(delete(FINDING).where(FINDING.c.reconciliation_id.in_(old)))
    connection.execute(delete(RECONCILIATION).where(RECONCILIATION.c.id.in_(old)))


def _values(run: Run) -> dict[str, Any]:
    counts = [[*names, *cell] for names, cell in run.counts.items()]
    return {
        "state": run.state.value,
        "dry_run": run.dry_run,
        "phase": run.phase.value,
        "total": run.total,
        "read": run.read,
        "counts": pydantic_core.to_json(counts).decode(),
        "problems": pydantic_core.to_json(run.problems).decode(),
        "uncompared": pydantic_core.to_json(run.uncompared).decode(),
        "started_at": run.started_at,
        "updated_at": run.updated_at,
        "ended_at": run.ended_at,
    }


def _run(row: Any) -> Run:
    counts = pydantic_core.from_json(row.counts)
    return Run(
        id=row.id,
        dry_run=bool(row.dry_run),
        started_at=row.started_at,
        updated_at=row.updated_at,
        state=RunState(row.state),
        phase=Phase(row.phase),
        total=row.total,
        read=row.read,
        counts={(participant, kind, verdict): cell for participant, kind, verdict, *cell in counts},
        problems=pydantic_core.from_json(row.problems),
        uncompared=pydantic_core.from_json(row.uncompared),
        ended_at=row.ended_at,
    )


def _finding_values(one: Kept) -> dict[str, Any]:
    return {
        "id": one.id,
        "reconciliation_id": one.reconciliation_id,
        "participant": one.participant,
        "kind": one.kind,
        "subject": one.subject[:300],
        "transaction_id": one.transaction_id,
        "branch_id": one.branch_id,
        "verdict": one.verdict,
        "evidence": pydantic_core.to_json(one.evidence).decode(),
        "repair": one.repair,
        "repaired": one.repaired,
        "found_at": one.found_at,
    }


def _kept(row: Any) -> Kept:
    values = dict(zip(FINDING.c.keys(), row, strict=True))
    values["evidence"] = pydantic_core.from_json(values["evidence"])
    values["repaired"] = bool(values["repaired"])
    return Kept(**values)
