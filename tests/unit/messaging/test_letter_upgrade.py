"""Letters that the first release kept are as good as new after the upgrade."""

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command

from shared.database.sqlite import sqlite_engine
from shared.messaging.failure import Failure, failure_of
from shared.messaging.ledger import Act, LedgerLine, history
from shared.messaging.letters import DeadLetter, LetterState, key_digest
from shared.messaging.selection import Selection, groups, page
from shared.migrations import locations, upgrade
from shared.migrations.alembic_runner import config


def raised() -> Failure:
    try:
        int("x")
    except ValueError as error:
        return failure_of(error)
    raise AssertionError


def first_release(path: Path, failures: list[Failure]) -> None:
    """Make the database as it was, with a letter for each failure and a replay of the first."""
    engine = sqlite_engine(path)
    with engine.connect() as connection, connection.begin():
        command.upgrade(config(connection, locations("stock")), "messaging_0001")
    engine.dispose()
    with closing(sqlite3.connect(path)) as kept:
        for number, failure in enumerate(failures):
            row = {
                "id": f"L{number}",
                "topic": "stock-adjustment",
                "subject": f"branch:b{number}",
                "branch_id": f"b{number}",
                "state": "SETTLED" if number == 0 else "OPEN",
                "partition_number": 0,
                "record_offset": number,
                "timestamp": 1,
                "timestamp_type": 0,
                "key": b"\xff" if number else None,
                "value": b"{}",
                "headers": b"[]",
                "exception_type": failure.type,
                "exception_cause": failure.cause,
                "exception_message": failure.message,
                "stack_trace": failure.stack_trace,
                "attempts": 4,
                "replays": 0,
                "consumer_group": "handfast-stock",
                "created_at": 1_000 + number,
                "updated_at": 2_000 + number,
            }
            names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
            kept.execute(f"INSERT INTO letter ({names}) VALUES ({places})", row)  # noqa: S608 - names of our own
        kept.execute("INSERT INTO replay VALUES ('R1', 'L0', 1500, 'ann', 'thawed')")
        kept.commit()


def test_letters_of_the_first_release_are_found_grouped_and_accounted_for(tmp_path: Path) -> None:
    path = tmp_path / "stock.db"
    never_raised = failure_of(ValueError("returned"))
    first_release(path, [raised(), raised(), never_raised])
    assert upgrade(path, "stock")
    engine = sqlite_engine(path)
    with engine.connect() as connection:
        letters: list[DeadLetter]
        letters, _ = page(connection, limit=10)
        listed, _ = groups(connection, limit=10)
        lines: list[LedgerLine]
        lines, _ = history(connection, limit=10)
        by_key, _ = page(connection, Selection(key=b"\xff"), limit=10)
        rows = connection.exec_driver_sql(
            "SELECT fingerprint, place, key_digest FROM letter ORDER BY id"
        ).all()
    engine.dispose()
    assert [(one.id, one.state, one.failed_at) for one in letters] == [
        ("L0", LetterState.SETTLED, 2_000),
        ("L1", LetterState.OPEN, 2_001),
        ("L2", LetterState.OPEN, 2_002),
    ]
    assert sorted(group.count for group in listed) == [1, 2]
    assert [(line.act, line.letter_id, line.at, line.who, line.why) for line in lines] == [
        (Act.REPLAY, "L0", 1_500, "ann", "thawed")
    ]
    assert [one.id for one in by_key] == ["L1", "L2"]
    # What the upgrade fills in is what a failure of today gets.
    assert [tuple(row) for row in rows] == [
        (raised().fingerprint, raised().place, None),
        (raised().fingerprint, raised().place, key_digest(b"\xff")),
        (never_raised.fingerprint, "", key_digest(b"\xff")),
    ]
