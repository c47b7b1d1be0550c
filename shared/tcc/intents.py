"""Carries out external effects: the call between commit 1 (the intent) and commit 2 (its answer).

Whoever wrote the intent holds its lease, makes the call within a bounded time, and settles it. Where the
outcome stays unknown, or the caller dies, the intent remains; the next command or the sweeper takes the lease
over and looks the effect up before it tries again.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Generic

import pydantic_core
from sqlalchemy import Connection

from shared.clock import Clock
from shared.database.port import Database
from shared.errors import Conflict, Refused, Transient
from shared.tcc import fence
from shared.tcc.branches import Branches, Step
from shared.tcc.command import Answer, C
from shared.tcc.effects import ExternalEffect, Intent
from shared.tcc.fence import Fence
from shared.tcc.protocol import Phase, State, Verdict
from shared.tcc.refusals import encode_refusal, outcome_unknown

_log = logging.getLogger(__name__)

FIRST_BACK_OFF_MS = 1_000
LONGEST_BACK_OFF_MS = 60_000

_Heard = Mapping[str, Any] | Refused
"""What the other side said: what to remember, or no."""


class Intents(Generic[C]):
    """The external effects of one participant. timeout: the bound on one exchange, in seconds."""

    def __init__(
        self,
        effect: ExternalEffect[C],
        branches: Branches[C],
        database: Database,
        clock: Clock,
        timeout: float,
    ) -> None:
        self._effect = effect
        self._branches = branches
        self._database = database
        self._clock = clock
        self._timeout = timeout

    async def carry_out(self, step: Step, traceparent: str | None) -> Answer:
        """Make the calls that are to do, and return what became of the branch.

        The caller holds the lease. Raises Transient where the outcome stays unknown (the intent remains and
        is taken up again), Conflict where the other side declines a Confirm.
        """
        while step.to_do:
            held = step.answer.fence
            try:
                heard = await self._hear(held, step.look_first)
                step = await self._settle(held, heard, traceparent)
            except Exception:
                # Nobody works on it from here on: the next command may take it up at once.
                await self._give_back(held)
                raise
            if isinstance(heard, Refused) and step.answer.state in (State.CONFIRMING, State.CANCELLING):
                raise self._declined(step.answer.fence, heard)
        return step.answer

    async def recover(self, branch_id: str) -> Answer | None:
        """Carry on an effect whose lease has run out; None where there is none."""
        step = await self._database.write(lambda connection: self._take_over(connection, branch_id))
        return None if step is None else await self.carry_out(step, None)

    async def _hear(self, held: Fence, look_first: bool) -> _Heard:
        """Return what the other side says; raise Transient where that stays unknown."""
        assert held.intent is not None
        intent = Intent(
            phase=held.intent,
            branch_id=held.id,
            transaction_id=held.transaction_id,
            claim=self._branches.claim_of(held),
            remembered={} if held.effect is None else pydantic_core.from_json(held.effect),
            attempt=held.attempts,
        )
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._effect.look_up(intent) if look_first else None
                if found is not None:
                    return found
                if look_first and held.undo and held.intent is Phase.TRY:
                    return {}  # It is to be cancelled: what has not happened is not tried again.
                return await self._effect.perform(intent)
        except Refused as refusal:
            return refusal
        except Exception as error:
            _log.warning("The outcome of %s is unknown: %s", intent.key, error, exc_info=error)
            raise outcome_unknown(held) from error

    async def _settle(self, held: Fence, heard: _Heard, traceparent: str | None) -> Step:
        return await self._database.write(
            lambda connection: self._settle_in(connection, held, heard, traceparent)
        )

    def _settle_in(self, connection: Connection, held: Fence, heard: _Heard, traceparent: str | None) -> Step:
        """Commit 2: write down what was heard, and run the rule that goes with it."""
        now = self._clock.now()
        current = fence.read(connection, held.id)
        assert current is not None
        if current.intent is not held.intent or current.state is not held.state:
            # Another took the lease over and has settled it meanwhile; the effect itself happened once.
            return Step(Answer(Verdict.REPEAT, current))
        if isinstance(heard, Refused):
            return self._settle_refusal(connection, current, heard)
        effect = pydantic_core.to_json(dict(heard)).decode()
        if current.intent is Phase.CONFIRM:
            moved = self._branches.finish_confirm(connection, current, now, traceparent, effect=effect)
        elif current.intent is Phase.CANCEL:
            moved = self._branches.finish_cancel(connection, current, now, effect=effect)
        elif current.undo:
            moved = self._branches.begin_effect(
                connection, current, now, state=State.CANCELLING, intent=Phase.CANCEL, effect=effect
            )
            return Step(Answer(Verdict.UNDO, moved), to_do=True)
        else:
            moved = fence.move(
                connection,
                current,
                state=State.TRIED,
                intent=None,
                effect=effect,
                in_doubt=False,
                attempts=0,
                due_at=current.expires_at,
                updated_at=now,
            )
        return Step(Answer(Verdict.APPLY, moved))

    def _settle_refusal(self, connection: Connection, current: Fence, refusal: Refused) -> Step:
        now = self._clock.now()
        if current.intent is Phase.TRY:
            # What the Try's rule held in the database is let go again.
            reason = current.reason if current.undo else refusal.slug[:200]
            moved = self._branches.finish_cancel(
                connection, current, now, reason=reason, refusal=encode_refusal(refusal)
            )
        elif current.intent is Phase.CONFIRM:
            # Still decided: whoever sends the Confirm again has it tried again.
            moved = self._branches.await_confirm(connection, current, now)
        else:
            moved = self._back_off(connection, current)
        return Step(Answer(Verdict.CONFLICT, moved))

    def _declined(self, held: Fence, refusal: Refused) -> Conflict | Transient:
        """Return what is raised where a Confirm or a Cancel, which may not be declined, was."""
        _log.error(
            "Reservation %s is %s, which was declined: %s", held.id, held.state.lower(), refusal.detail
        )
        if held.state is State.CONFIRMING:
            return Conflict("effect-declined", f"The other side declines the Confirm: {refusal.detail}")
        return Transient(f"The other side declines the Cancel: {refusal.detail}", "effect-declined")

    async def _give_back(self, held: Fence) -> None:
        def give_back(connection: Connection) -> None:
            current = fence.read(connection, held.id)
            if current is not None and current.intent is held.intent and current.state is held.state:
                self._back_off(connection, current)

        await self._database.write(give_back)

    def _back_off(self, connection: Connection, current: Fence) -> Fence:
        now = self._clock.now()
        pause = min(FIRST_BACK_OFF_MS << min(current.attempts, 16), LONGEST_BACK_OFF_MS)
        return fence.move(
            connection,
            current,
            in_doubt=True,
            attempts=current.attempts + 1,
            due_at=now + pause,
            updated_at=now,
        )

    def _take_over(self, connection: Connection, branch_id: str) -> Step | None:
        now = self._clock.now()
        held = fence.read(connection, branch_id)
        if held is None or held.intent is None or held.due_at is None or held.due_at > now:
            return None
        moved = self._branches.begin_effect(connection, held, now)
        return Step(Answer(Verdict.APPLY, moved), to_do=True, look_first=True)
