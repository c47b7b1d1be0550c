"""The gate: decides in one atomic step how many come in, and how often each customer, for all who wait.

Whoever is let in is in the journal when `enter` returns, whichever gate it is. The gate in the service's own
database decides in the transaction that journals; one elsewhere (`stock_service.drops.valkey`) decides first,
and the journal, which counts by itself, believes it only as far as its constraints hold.
"""

from collections.abc import Sequence
from typing import Protocol

from shared.database.port import Database
from stock_service.drops.entry import Stale, Verdict, Want
from stock_service.drops.journal import Journal


class Gate(Protocol):
    async def enter(self, wants: Sequence[Want]) -> Sequence[Verdict | Stale]:
        """Decide about claims, in the order in which they came, and journal those that are let in.

        Returns what became of each; Stale: nothing yet, it has to be asked for again. Raises Transient where
        nothing could be decided, or not be journaled: then nobody has been let in.
        """
        ...

    async def renew(self, code: str) -> None:
        """Take note that a drop's terms have changed. The change stands, whatever comes of this."""
        ...


class DatabaseGate:
    """The gate in the service's own database: its count is the journal's own."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal

    async def enter(self, wants: Sequence[Want]) -> Sequence[Verdict]:
        return await self._database.write(lambda connection: self._journal.enter(connection, wants))

    async def renew(self, code: str) -> None:
        """Do nothing: the terms are read with every decision."""
