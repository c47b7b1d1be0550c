"""The reconciliation's timetable: a run every so often, and when one is asked for, never two at a time."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from coordinator import runs
from coordinator.round import Round
from coordinator.runs import Phase, Run, RunState, Superseded
from shared.bell import Bell
from shared.clock import Clock
from shared.database.port import Database
from shared.errors import Refused, Transient
from shared.identity import NewId

LEASE_MS: Final = 30_000
"""A run that was not touched for so long is dead."""
BEAT_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


class Reconciler:
    """Runs reconciliations. every: seconds between two, 0: only when asked for; metrics: where they count."""

    def __init__(
        self,
        round_of: Callable[[Run], Round],
        *,
        database: Database,
        clock: Clock,
        new_id: NewId,
        bell: Bell,
        every: float,
        metrics: CollectorRegistry | None = None,
    ) -> None:
        self._round_of = round_of
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._bell = bell
        self._every = round(every * 1000)
        self._demanded: asyncio.Queue[Run] = asyncio.Queue()
        self._figures = None if metrics is None else _Figures(metrics)

    async def demand(self, *, dry_run: bool) -> Run:
        """Begin a run now, or join one of the same sort; raise Refused while one of the other sort runs."""
        run = self._new(dry_run=dry_run)
        other = await self._begin(run)
        if other is None:
            self._demanded.put_nowait(run)
            return run
        if other.dry_run is dry_run:
            return other
        detail = f"Reconciliation {other.id} is running. Ask again once it has ended."
        raise Refused("reconciliation-running", detail, reconciliationId=other.id)

    async def wait(self, run_id: str, seconds: float) -> Run:
        """Return a run once it has ended, or as it is when the time is up; raise NotFound."""

        async def look() -> Run | None:
            run = await self.find(run_id)
            return None if run.state is RunState.RUNNING else run

        ended = await self._bell.wait(run_id, look, seconds) if seconds > 0 else None
        return ended or await self.find(run_id)

    async def find(self, run_id: str) -> Run:
        """Return a run; raise NotFound."""
        return await self._database.read(lambda connection: runs.find(connection, run_id))

    async def run(self) -> None:
        """Run what is due or asked for, until cancelled."""
        while True:
            try:
                await self._carry_out(await self._next())
            except Superseded:
                _log.warning("A reconciliation was taken for dead, and has stopped.")
            except Transient as error:
                _log.warning("A reconciliation is put off: %s", error.detail)
                await asyncio.sleep(BEAT_SECONDS)

    async def _next(self) -> Run:
        """Wait for a run that is asked for, or begin one that is due."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(await self._due_in()):
                    return await self._demanded.get()
            run = self._new(dry_run=False)
            if await self._begin(run) is None:
                return run
            await asyncio.sleep(BEAT_SECONDS)

    async def _due_in(self) -> float | None:
        """Return the seconds until the next run is due, whoever ran the last; None: it never is."""
        if self._every == 0:
            return None
        last = await self._database.read(runs.latest)
        since = 0 if last is None else self._clock.now() - last.started_at
        return min(max(self._every - since, 0), self._every) / 1000

    def _new(self, *, dry_run: bool) -> Run:
        now = self._clock.now()
        return Run(self._new_id(), dry_run, now, now)

    async def _begin(self, run: Run) -> Run | None:
        return await self._database.write(lambda connection: runs.begin(connection, run, LEASE_MS))

    async def _carry_out(self, run: Run) -> None:
        beating = asyncio.create_task(self._beat(run.id))
        try:
            await self._round_of(run).go()
            run.phase = Phase.ENDED
            await self._end(run, RunState.DONE)
        except Superseded:
            raise
        except asyncio.CancelledError:
            with contextlib.suppress(Transient):  # The next to begin takes it for dead.
                await self._write_end(run, RunState.INTERRUPTED)
            raise
        except Exception as error:
            run.trouble("coordinator", str(error) or type(error).__name__)
            await self._end(run, RunState.FAILED)
            raise
        finally:
            beating.cancel()
            self._bell.ring(run.id)

    async def _beat(self, run_id: str) -> None:
        """Touch the run again and again, so that nobody takes it for dead."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self._database.write(
                    lambda connection: runs.beat(connection, run_id, self._clock.now())
                )
            except Transient as error:
                _log.info("Reconciliation %s could not be touched: %s", run_id, error.detail)

    async def _end(self, run: Run, state: RunState) -> None:
        """End a run as soon as the database takes it: nobody else would, before another run is to begin."""
        while True:
            try:
                return await self._write_end(run, state)
            except Transient as error:
                _log.warning("The end of reconciliation %s can't be written: %s", run.id, error.detail)
            await asyncio.sleep(BEAT_SECONDS)

    async def _write_end(self, run: Run, state: RunState) -> None:
        await self._database.write(lambda connection: runs.end(connection, run, state, self._clock.now()))
        if self._figures is not None:
            self._figures.ended(run)


class _Figures:
    """What Prometheus is told."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["participant", "kind", "verdict"]
        self._runs = Counter(
            "handfast_reconciliation_runs",
            "Reconciliations that ended, and how.",
            ["state"],
            registry=registry,
        )
        self._findings = Counter(
            "handfast_reconciliation_findings", "What reconciliations found.", labels, registry=registry
        )
        self._repaired = Counter(
            "handfast_reconciliation_repaired", "Findings that are right since.", labels, registry=registry
        )
        last = "handfast_reconciliation_last"
        self._problems = Gauge(f"{last}_problems", "What the last one could not do.", registry=registry)
        self._ended = Gauge(f"{last}_end_timestamp_seconds", "When the last one ended.", registry=registry)
        self._took = Gauge(f"{last}_duration_seconds", "How long the last one took.", registry=registry)

    def ended(self, run: Run) -> None:
        """Take in a run that has ended."""
        self._runs.labels(run.state.value).inc()
        for names, (found, repaired) in run.counts.items():
            self._findings.labels(*names).inc(found)
            self._repaired.labels(*names).inc(repaired)
        self._problems.set(len(run.problems))
        ended_at = run.ended_at or run.updated_at
        self._ended.set(ended_at / 1000)
        self._took.set((ended_at - run.started_at) / 1000)
