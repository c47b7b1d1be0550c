"""Returned claims, issued after all: in a batch, each for itself, as far as units are left.

They go through the same gate as everybody else, so a unit that has gone to somebody else meanwhile stays
there. Asked again, what is done already says so and nothing happens.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from shared.database.port import Database
from shared.errors import Refused, Transient
from shared.telemetry import current_traceparent
from stock_service.drops import claims, offers
from stock_service.drops.claims import Claim
from stock_service.drops.desk import Desk
from stock_service.drops.entry import Want

MOST_AT_ONCE: Final = 100
"""The most claims in one request."""

REISSUED: Final = "reissued"


@dataclass(frozen=True, slots=True)
class Reissued:
    """What became of a claim. result: `reissued`, or a problem's slug; detail: what that means."""

    claim_id: str
    result: str
    detail: str | None = None


class Reissue:
    """Brings returned claims before the gate once more."""

    def __init__(self, database: Database, desk: Desk) -> None:
        self._database = database
        self._desk = desk

    async def reissue(self, code: str, claim_ids: Sequence[str]) -> list[Reissued]:
        """Return what became of each; raises NotFound for an unknown drop."""

        def look(connection: Connection) -> dict[str, Claim]:
            offers.read(connection, code)
            return claims.known_among(connection, claim_ids)

        known = await self._database.read(look)
        asked = (self._one(code, claim_id, known.get(claim_id)) for claim_id in claim_ids)
        return list(await asyncio.gather(*asked))

    async def _one(self, code: str, claim_id: str, claim: Claim | None) -> Reissued:
        if claim is None or claim.code != code:
            # The gate isn't asked: it would keep a unit of this drop for a claim of another.
            return Reissued(claim_id, "unknown-claim", f"Drop {code} has no claim {claim_id}.")
        want = Want(claim_id, code, claim.customer_id, traceparent=current_traceparent(), again=True)
        try:
            await self._desk.claim(want)
        except (Refused, Transient) as error:
            return Reissued(claim_id, error.slug, error.detail)
        return Reissued(claim_id, REISSUED)
