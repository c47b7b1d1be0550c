"""The person who runs the shop in a simulation: takes stock now and then, sees to dead letters, and has the
coordinator reconcile in the middle of the troubles."""

import asyncio
import random
from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import Connection

from shared.errors import Unreachable
from tests.collector import PROGRAMS, deposits_of
from tests.simulation.world import GRACE_SECONDS, World

UNSETTLED: Final[Mapping[str, str]] = {
    "coordinator": "SELECT count(*) FROM tcc_transaction WHERE state NOT IN ('CONFIRMED', 'CANCELLED')",
    "order": "SELECT count(*) FROM orders WHERE status NOT IN ('CONFIRMED', 'CANCELLED')",
}
RESERVED: Final = "SELECT count(*) FROM reservation WHERE state NOT IN ('CONFIRMED', 'CANCELLED')"
LETTERS: Final = (
    "SELECT count(*) FROM letter WHERE state NOT IN ('EDITED', 'SETTLED') AND branch_id IS NOT NULL "
    "AND branch_id <> 'poison'"
)
STOCKTAKE: Final = ("product-0", "product-1")
"""Products that are counted now and then, and frozen meanwhile."""
LOOK: Final = 5.0
"""Seconds between two looks at what is left once the shop is closed."""


class Operator:
    """Looks after a world. reconciled: how many reconciliations were begun."""

    def __init__(self, world: World, randomness: random.Random) -> None:
        self._world = world
        self._randomness = randomness
        self.reconciled = 0

    async def deposits(self) -> dict[str, int]:
        """Return what was paid into the accounts."""
        return await deposits_of(self._world.read)

    async def work(
        self,
        closing: asyncio.Event,
        troubles: "asyncio.Task[None]",
        shoppers: Collection["asyncio.Task[None]"],
    ) -> None:
        """Take stock and replay letters until the shop is closed and the troubles are over; go on replaying
        until the last customer has left, for one may wait for what only a letter's replay makes true."""
        while not (closing.is_set() and troubles.done()):
            await asyncio.sleep(self._randomness.uniform(2.0, 8.0))
            product = self._randomness.choice(STOCKTAKE)
            await self._freeze(product)
            await asyncio.sleep(self._randomness.uniform(0.5, 8.0))
            await self._thaw(product)
            if self._randomness.random() < 0.5:
                await self.replay_all()
            if self._randomness.random() < 0.5:
                await self._begin(dry_run=self._randomness.random() < 0.3)
        for product in STOCKTAKE:
            await self._thaw(product)
        while not all(shopper.done() for shopper in shoppers):
            await self.replay_all()
            await asyncio.sleep(LOOK)

    async def replay_all(self) -> None:
        """Replay every letter once, as far as its program answers; some are parked, some sent as an edit."""
        for program in PROGRAMS:
            listed = await self._ask("GET", program, "/dead-letters?limit=500")
            for letter in (listed or {}).get("items", []):
                if letter["branchId"] not in (None, "poison"):
                    await self._see_to(program, letter)

    async def _see_to(self, program: str, letter: Mapping[str, Any]) -> None:
        path, body = f"/dead-letters/{letter['letterId']}", {"who": "operator", "why": "thawed"}
        if letter["state"] == "PARKED":
            await self._ask("POST", program, f"{path}/releases", body)
        elif letter["state"] == "OPEN":
            act = self._randomness.choices(("replays", "parkings", "edits"), (8, 1, 1))[0]
            said = {"value": letter["value"]} if act == "edits" else {}
            await self._ask("POST", program, f"{path}/{act}", body | said)

    async def reconcile(self) -> dict[str, Any]:
        """Have a reconciliation look for what is left, once nothing is merely late; return how it ended.

        One that began earlier and is joined, be it dead, says nothing of what is left.
        """
        await asyncio.sleep(GRACE_SECONDS + 1.0)
        listed = await self._world.read("coordinator", "/reconciliations?limit=100")
        earlier = {one["reconciliationId"] for one in listed["items"]}
        run = None
        while run is None or run["reconciliationId"] in earlier:
            run = await self._begin(dry_run=True)
            await asyncio.sleep(1.0)
        path = f"/reconciliations/{run['reconciliationId']}"
        while run is None or run["state"] == "RUNNING":
            run = await self._ask("GET", "coordinator", path, prefer="wait=5")
        listed = await self._world.read("coordinator", f"{path}/findings?limit=500")
        return {**run, "findings": listed["items"]}

    async def _begin(self, *, dry_run: bool) -> dict[str, Any] | None:
        run: dict[str, Any] | None = await self._ask(
            "POST", "coordinator", "/reconciliations", {"dryRun": dry_run}
        )
        self.reconciled += run is not None
        return run

    def unsettled(self) -> bool:
        """Say whether anything is still under way, by a look into the databases."""
        return any(
            self._count(name, query) > 0
            for name in PROGRAMS
            for query in (UNSETTLED.get(name), None if name == "coordinator" else RESERVED, LETTERS)
            if query is not None
        )

    def _count(self, name: str, query: str) -> int:
        def work(connection: Connection) -> int:
            return int(connection.exec_driver_sql(query).scalar_one())

        return self._world.hosts[name].store.write_now(work)

    async def _freeze(self, product: str) -> None:
        await self._ask("PUT", "stock", f"/products/{product}", {"frozen": True})

    async def _thaw(self, product: str) -> None:
        """Release a product, however often that has to be said."""
        thawed = None
        while thawed is None:
            thawed = await self._ask("PUT", "stock", f"/products/{product}", {"frozen": False})
            await asyncio.sleep(0.5)

    async def _ask(self, method: str, program: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send a request; return its answer, None where it was not done."""
        try:
            reply = await self._world.call(method, program, path, body, **headers)
        except Unreachable:
            return None
        return reply.json() if reply.status < 300 else None
