"""What is past its retention is found by an index, the oldest first: no table is read from end to end, and
nothing is sorted. The conditions of these indexes are written out, and mean what the code means."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, TextClause, event

from coordinator import log
from coordinator.shrinking import shrink
from coordinator.tables import ENDED
from coordinator.transaction import FINAL
from coordinator.transaction import State as Decided
from shared import idempotency
from shared.database.inline import InlineDatabase
from shared.messaging import letters
from shared.messaging.letters import CLOSED, LetterState
from shared.migrations import upgrade
from shared.tcc import fence
from shared.tcc.protocol import State

READERS: dict[str, tuple[str, Callable[[Connection], object]]] = {
    "tcc_transaction_ended": ("coordinator", lambda connection: shrink(connection, 5, 5, 100)),
    "tcc_transaction_whole": (
        "coordinator",
        lambda connection: log.page(connection, whole=True, after="a", most=100),
    ),
    "reservation_settled": ("stock", lambda connection: fence.settled(connection, 5, (1, "a"), 100)),
    "letter_settled": ("stock", lambda connection: letters.prune(connection, 5, 100)),
    "idempotency_by_age": ("payment", lambda connection: idempotency.forget(connection, 5, 100)),
}


@pytest.fixture
async def opened(tmp_path: Path) -> Any:
    databases: list[InlineDatabase] = []

    async def open_(program: str) -> InlineDatabase:
        upgrade(tmp_path / f"{program}.db", program)
        database = InlineDatabase(tmp_path / f"{program}.db")
        databases.append(database)
        await database.start()
        return database

    yield open_
    for database in databases:
        await database.close()


@pytest.mark.parametrize("index", sorted(READERS))
async def test_the_oldest_are_found_by_an_index(index: str, opened: Any) -> None:
    program, read = READERS[index]
    database = await opened(program)
    plans = database.write_now(lambda connection: list(_plans(connection, read)))
    assert [plan for plan in plans if index in plan] == plans
    assert plans
    assert not [plan for plan in plans if "SCAN" in plan or "TEMP B-TREE" in plan]


@pytest.mark.parametrize(
    ("condition", "states", "settled"),
    [
        (ENDED, Decided, FINAL),
        (fence.SETTLED, State, {State.CONFIRMED, State.CANCELLED, State.ABSENT}),
        (letters.SETTLED, LetterState, set(CLOSED)),
    ],
)
def test_the_conditions_leave_out_every_state_that_is_not_the_end(
    condition: TextClause, states: Any, settled: Any
) -> None:
    left_out = {state for state in states if f"'{state.value}'" in condition.text}
    assert left_out == set(states) - set(settled)


def _plans(connection: Connection, read: Callable[[Connection], object]) -> Iterator[str]:
    """Yield how SQLite goes about the statements by which something is read."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    read(connection)
    event.remove(connection, "before_cursor_execute", note)
    for statement, parameters in statements:
        for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters):
            yield str(row[-1])
