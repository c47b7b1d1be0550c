"""`python -m tests.contention.run`: measure the ways of holding stock side by side, in one run.

It says what it finds as lines of JSON on stdout: {"say": ...} or {"slice": ...}. Exits 1 where one unit too
many was held. `handfast bench contention` runs it and shows the figures.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from shared.database.sqlite import SqliteDatabase
from shared.http.server import settle_garbage
from stock_service.participant import Strategy
from tests.contention.contenders import OLD, STRATEGIES, LockAndBatch, Ours
from tests.contention.locks import Lock, distributed_lock
from tests.contention.shop import Oversold, Shop

WARM_UP_SECONDS = 0.2


async def compare(plan: argparse.Namespace) -> None:
    """Measure every system at every level on every number of products, a slice of each in turn."""
    with (
        tempfile.TemporaryDirectory(prefix="handfast-contention-") as name,
        distributed_lock(Path(name)) as (lock, what),
    ):
        tell(say=f"the old design takes {what}; the databases are in {name}")
        for products in plan.products:
            settle_garbage()
            async with contextlib.AsyncExitStack() as stack:
                shops = {
                    system: await stack.enter_async_context(shop(system, products, Path(name), lock, plan))
                    for system in (OLD, *STRATEGIES)
                }
                for one in shops.values():
                    await one.measure(min(plan.in_flight), min(WARM_UP_SECONDS, plan.seconds))
                for in_flight in plan.in_flight:
                    await measure(shops, products, in_flight, plan)


async def measure(shops: dict[str, Shop], products: int, in_flight: int, plan: argparse.Namespace) -> None:
    """Measure a level in rounds, every system in each; then see that none sells one unit too many."""
    for number in range(1, plan.rounds + 1):
        for system, one in shops.items():
            found = await one.measure(in_flight, plan.seconds)
            tell(slice={"system": system, "products": products, "inFlight": in_flight, **asdict(found)})
        tell(say=f"{products} products, {in_flight} in flight: round {number} of {plan.rounds} is done")
    for one in shops.values():
        await one.sell_out()


@contextlib.asynccontextmanager
async def shop(
    system: str, products: int, directory: Path, lock: Lock, plan: argparse.Namespace
) -> AsyncIterator[Shop]:
    """Have the shop of one system for the time of a block, on a database of its own."""
    database = SqliteDatabase(directory / f"{system}-{products}.db")
    await database.start()
    worker: asyncio.Task[None] | None = None
    if system == OLD:
        old = LockAndBatch(database, lock, plan.old_pause)
        worker = asyncio.create_task(old.run())
        made = Shop(system, old, database, products)
    else:
        made = Shop(system, Ours(cast(Strategy, system), database), database, products)
    await made.open()
    try:
        yield made
    finally:
        if worker is not None:
            worker.cancel()
            await asyncio.wait((worker,))
        await database.close()


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - this is what it is for


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--in-flight", type=numbers, required=True)
    parser.add_argument("--products", type=numbers, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--old-pause", type=float, required=True)
    try:
        asyncio.run(compare(parser.parse_args(arguments)))
    except Oversold as wrong:
        tell(say=str(wrong))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
