"""Runs in the database: old ones are forgotten with what they found, the one that runs never is."""

from typing import Any

from sqlalchemy import Connection, func, select

from coordinator import runs
from coordinator.runs import KEPT_RUNS, Kept, Run, RunState
from coordinator.tables import FINDING, RECONCILIATION
from shared.database.inline import InlineDatabase

LEASE = 30_000


async def with_history(connection_work: Any) -> Any:
    """Do something where as many runs as are kept have ended, each with a finding; ids r1000 and so on."""
    database = InlineDatabase()
    await database.start()
    try:
        database.write_now(_history)
        return database.write_now(connection_work)
    finally:
        await database.close()


def _history(connection: Connection) -> None:
    for table in (RECONCILIATION, FINDING):
        table.create(connection)
    for number in range(KEPT_RUNS):
        run = Run(f"r{1_000 + number}", False, number, number)
        assert runs.begin(connection, run, LEASE) is None
        found = Kept(
            f"f{number}", run.id, "stock", "kind", "subject", None, None, "person", {}, None, False, 0
        )
        runs.save(connection, run, [found])
        runs.end(connection, run, RunState.DONE, number)


def _count(connection: Connection, table: Any) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


async def test_the_oldest_run_and_what_it_found_make_room_for_the_next() -> None:
    def work(connection: Connection) -> None:
        assert runs.begin(connection, Run("r9999", False, 1, 1), LEASE) is None
        assert _count(connection, RECONCILIATION) == KEPT_RUNS
        assert _count(connection, FINDING) == KEPT_RUNS - 1
        assert runs.findings(connection, "r1000", after="", most=9) == []
        assert len(runs.findings(connection, "r1001", after="", most=9)) == 1

    await with_history(work)


async def test_a_run_that_begins_is_kept_though_the_clock_was_set_back() -> None:
    """Its id then sorts before all others."""

    def work(connection: Connection) -> None:
        assert runs.begin(connection, Run("r0000", False, 1, 1), LEASE) is None
        assert runs.find(connection, "r0000").state is RunState.RUNNING

    await with_history(work)
