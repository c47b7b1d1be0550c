"""The scene of a crash: what is durable, read from the databases themselves while a process lies dead."""

import json
from typing import Final

from shared.settings import PORTS, Settings, database_place
from tests.stores import Row, fetch

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


async def scene_of(stack: Settings, transaction_id: str | None) -> Scene:
    """Return what a stack's databases say of a transaction. None: of one that isn't there."""
    scene: Scene = {"transaction": None}
    scene["order"] = await _one(
        stack, "order", "SELECT status FROM orders WHERE transaction_id = ?", transaction_id
    )
    query = "SELECT state, branches FROM tcc_transaction WHERE id = ?"
    for state, branches in await _rows(stack, "coordinator", query, transaction_id):
        scene["transaction"] = state
        scene |= {f"{branch[1]} branch": branch[4] for branch in json.loads(branches)}
    for name in PARTICIPANTS:
        query = "SELECT state FROM reservation WHERE transaction_id = ?"
        scene[f"{name} holds"] = await _one(stack, name, query, transaction_id)
    for name in PORTS:
        topics = await _rows(stack, name, "SELECT DISTINCT topic FROM outbox")
        scene[f"{name} outbox"] = ", ".join(sorted(topic for (topic,) in topics)) or None
        scene[f"{name} open letters"] = await _one(
            stack, name, "SELECT nullif(count(*), 0) FROM letter WHERE state = 'OPEN'"
        )
    return scene


async def transaction_of(stack: Settings, order_id: str) -> str | None:
    """Return the id of an order's transaction, None where there is no such order."""
    return await _one(stack, "order", "SELECT transaction_id FROM orders WHERE order_id = ?", order_id)


async def toys_of(stack: Settings) -> tuple[int, ...]:
    """Return how many toys are free, held and kept."""
    [counts] = await _rows(stack, "toy", "SELECT free, held, kept FROM toy")
    return tuple(map(int, counts))


def unlike(scene: Scene, expected: Scene) -> dict[str, str]:
    """Return, for what is not as expected, what it is."""
    return {
        name: f"{scene.get(name)} instead of {value}"
        for name, value in expected.items()
        if scene.get(name) != value
    }


async def _one(stack: Settings, program: str, query: str, *values: str | None) -> str | None:
    for (value,) in await _rows(stack, program, query, *values):
        return None if value is None else str(value)
    return None


async def _rows(stack: Settings, program: str, query: str, *values: str | None) -> list[Row]:
    return await fetch(database_place(stack, program), query, *values)
