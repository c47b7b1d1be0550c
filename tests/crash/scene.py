"""The scene of a crash: what is durable, read from the databases themselves while a process lies dead."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from shared.settings import PORTS

PARTICIPANTS: Final = ("order", "stock", "payment", "toy")

Scene = dict[str, str | None]
"""What is there, by name; None: it is not there.

    order                    an order's status
    transaction              its transaction's state
    <participant> branch     the state of its branch in the coordinator's log
    <participant> holds      the state of its reservation at the participant
    <program> outbox         the topics of what waits to be published
    <program> open letters   how many dead letters are OPEN
"""


def scene_of(directory: Path, transaction_id: str | None) -> Scene:
    """Return what the databases in a data directory say of a transaction. None: of one that isn't there."""
    scene: Scene = {"transaction": None}
    scene["order"] = _one(
        directory, "order", "SELECT status FROM orders WHERE transaction_id = ?", transaction_id
    )
    query = "SELECT state, branches FROM tcc_transaction WHERE id = ?"
    for state, branches in _rows(directory, "coordinator", query, transaction_id):
        scene["transaction"] = state
        scene |= {f"{branch[1]} branch": branch[4] for branch in json.loads(branches)}
    for name in PARTICIPANTS:
        query = "SELECT state FROM reservation WHERE transaction_id = ?"
        scene[f"{name} holds"] = _one(directory, name, query, transaction_id)
    for name in PORTS:
        topics = sorted(topic for (topic,) in _rows(directory, name, "SELECT DISTINCT topic FROM outbox"))
        scene[f"{name} outbox"] = ", ".join(topics) or None
        scene[f"{name} open letters"] = _one(
            directory, name, "SELECT nullif(count(*), 0) FROM letter WHERE state = 'OPEN'"
        )
    return scene


def transaction_of(directory: Path, order_id: str) -> str | None:
    """Return the id of an order's transaction, None where there is no such order."""
    return _one(directory, "order", "SELECT transaction_id FROM orders WHERE order_id = ?", order_id)


def toys_of(directory: Path) -> tuple[int, ...]:
    """Return how many toys are free, held and kept."""
    [counts] = _rows(directory, "toy", "SELECT free, held, kept FROM toy")
    return tuple(map(int, counts))


def unlike(scene: Scene, expected: Scene) -> dict[str, str]:
    """Return, for what is not as expected, what it is."""
    return {
        name: f"{scene.get(name)} instead of {value}"
        for name, value in expected.items()
        if scene.get(name) != value
    }


def _one(directory: Path, program: str, query: str, *values: str | None) -> str | None:
    for (value,) in _rows(directory, program, query, *values):
        return None if value is None else str(value)
    return None


def _rows(directory: Path, program: str, query: str, *values: str | None) -> Iterator[tuple[str, ...]]:
    with _database(directory / f"{program}.db") as connection:
        yield from connection.execute(query, values).fetchall()


@contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
        yield connection
