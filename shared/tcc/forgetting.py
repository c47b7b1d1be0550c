"""Branches that ended long ago are forgotten, once the coordinator says that nothing needs them any more.

A participant can't tell when a transaction ended: its Confirm may be repeated for as long as the coordinator
hasn't heard that it was applied. So what is past its own retention is asked about, and stays while the
coordinator is away. A branch with a dead letter that is not settled stays too, and so does one to whose Try
there may be a copy that is not yet refused by its deadline. A standalone reservation has nobody to be asked
about, and goes by its own end.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from shared.clock import Millis
from shared.messaging.letters import branches_with_letters
from shared.retention import BATCH
from shared.tcc import fence
from shared.tcc.fence import Fence
from shared.tcc.inquiry import Remembers, Settled
from shared.tcc.participant import ParticipantHost
from shared.tcc.protocol import State

_FROM_THE_START: Final = (0, "")


class Forgetting:
    """Forgets branches of one participant. retention_ms: for how long after their end they are kept."""

    def __init__(self, host: ParticipantHost[Any], coordinator: Remembers, retention_ms: Millis) -> None:
        self._host = host
        self._coordinator = coordinator
        self._retention_ms = retention_ms

    async def sweep(self) -> AsyncIterator[int]:
        """Go through what is past its retention, the oldest first; raise Unreachable, DatabaseUnavailable."""
        after = _FROM_THE_START
        while settled := await self._settled(after):
            after = (settled[-1].updated_at, settled[-1].id)
            yield await self._forget(await self._forgettable(settled))

    async def _settled(self, after: tuple[Millis, str]) -> list[Fence]:
        before = self._host.clock.now() - self._retention_ms
        return await self._host.database.read(
            lambda connection: fence.settled(connection, before, after, BATCH)
        )

    async def _forgettable(self, settled: Sequence[Fence]) -> list[str]:
        before = self._host.clock.now() - self._retention_ms
        past = [one for one in settled if one.expires_at is None or one.expires_at < before]
        ours = [
            Settled(one.transaction_id, one.id, one.state) for one in past if one.transaction_id is not None
        ]
        over = await self._coordinator.forgettable(ours) if ours else frozenset()
        return [one.id for one in past if one.transaction_id is None or one.id in over]

    async def _forget(self, branch_ids: Sequence[str]) -> int:
        if not branch_ids:
            return 0
        participant = self._host.participant

        def work(connection: Connection) -> int:
            lettered = branches_with_letters(connection, participant.topic, branch_ids)
            gone = fence.forget(connection, [one for one in branch_ids if one not in lettered])
            kept = [self._host.branches.claim_of(one) for one in gone if one.state is State.CONFIRMED]
            if kept and participant.on_forget is not None:
                participant.on_forget(connection, kept)
            return len(gone)

        return await self._host.database.write(work)
