"""Republication: a claim of which nothing was heard has its record published again.

The broker is never trusted to remember. A record that comes twice changes nothing.
"""

import asyncio
import logging
from typing import Final

from shared.database.port import Database
from shared.errors import DatabaseUnavailable
from stock_service.drops.journal import Journal

MOST: Final = 500
"""Records that one sweep publishes again."""

_log = logging.getLogger(__name__)


class Republication:
    """Looks after PENDING claims. pause: seconds between two sweeps."""

    def __init__(self, database: Database, journal: Journal, pause: float) -> None:
        self._database = database
        self._journal = journal
        self._pause = pause

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            try:
                await self.sweep()
            except DatabaseUnavailable as error:
                _log.warning("Claims can't be looked after now: %s", error.detail)
            await asyncio.sleep(self._pause)

    async def sweep(self) -> int:
        """Publish what is due again; return how many records that were."""
        count = await self._database.write(lambda connection: self._journal.publish_again(connection, MOST))
        if count:
            _log.info("%d records of claims are published again: nothing was heard of them.", count)
        return count
