"""A participant as a value, and `handle`, through which every command comes: HTTP, Kafka and sweeper alike.

A participant is a name, a claim model and three rules. A rule is a plain function over a connection and a
claim; it raises Refused where business says no, Transient where it can't be done now. It runs in the same
transaction as the move of the fence, so that both are true or neither is.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from prometheus_client import CollectorRegistry
from sqlalchemy import Connection

from shared.bell import Bell
from shared.clock import Clock, Millis
from shared.database.failures import is_store_failure
from shared.database.port import Database, Savepoint
from shared.identity import NewId
from shared.messaging.outbox import Outbox
from shared.tcc import fence
from shared.tcc.alarms import Alarms
from shared.tcc.branches import Branches, Step
from shared.tcc.command import Answer, BatchRule, C, Command, Context, Rule
from shared.tcc.confirmations import Announcer
from shared.tcc.effects import ExternalEffect
from shared.tcc.fence import Fence
from shared.tcc.intents import Intents
from shared.tcc.protocol import Phase, State
from shared.tcc.refusals import effect_missing, refusal_of
from shared.tcc.tries import Foreseen, Gathered, Tries
from shared.telemetry import current_traceparent

__all__ = ["Answer", "Command", "Context", "Participant", "ParticipantHost", "Rule"]


@dataclass(frozen=True, kw_only=True)
class Participant(Generic[C]):
    """One participant of the protocol.

    name: as registered with the coordinator; collection: its reservations' path below /api/v1;
    topic: where its Confirms travel; claim: the model of what is claimed (strict, unknown fields refused);
    on_try holds, on_confirm keeps, on_cancel lets go; key: the Kafka key of a reservation's Confirm, from
    branch id and claim; on_tombstone: what a Cancel does that came before its Try; on_forget: what has to be
    kept of these claims, which were confirmed, when their branches are deleted long after;
    effect: what happens outside the database, if anything does.

    For what many want at once: foresee: what a Try reads before its transaction (its rule finds it in the
    context, and raises Outdated where it is no longer so); on_tries: holds many claims together, or raises,
    and then on_try holds each. A participant has one of the two at most, and neither with an effect.
    """

    name: str
    collection: str
    topic: str
    claim: type[C]
    on_try: Rule[C]
    on_confirm: Rule[C]
    on_cancel: Rule[C]
    key: Callable[[str, C], str]
    on_tombstone: Callable[[Connection, Context], None] | None = None
    on_forget: Callable[[Connection, Sequence[C]], None] | None = None
    effect: ExternalEffect[C] | None = None
    foresee: Callable[[Connection, C], Any] | None = None
    on_tries: BatchRule[C] | None = None

    def __post_init__(self) -> None:
        special = (self.foresee, self.on_tries, self.effect)
        if sum(one is not None for one in special) > 1:
            raise ValueError(f"{self.name}: of foresee, on_tries and effect a participant has one at most.")


class ParticipantHost(Generic[C]):
    """Runs one participant over a database. source: the program's name, as its messages give it.

    skew_allowance_ms: how much later than its deadline a Try may arrive; effect_timeout: the bound on one
    call of an external effect, in seconds; republish_ms: how long the Confirm of a standalone reservation
    may stay unapplied before it is published again; retention_ms: for how long branches are kept after their
    end; registry: where the Trys of a participant are counted
    that looks before, or holds many together.
    """

    def __init__(
        self,
        *,
        participant: Participant[C],
        database: Database,
        clock: Clock,
        new_id: NewId,
        outbox: Outbox,
        bell: Bell,
        source: str,
        alarms: Alarms | None = None,
        skew_allowance_ms: Millis = 30_000,
        republish_ms: Millis = 10_000,
        retention_ms: Millis = 2_592_000_000,
        effect_timeout: float = 10.0,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.participant = participant
        self.database = database
        self.clock = clock
        self.new_id = new_id
        self.announcer = Announcer(outbox, clock, source)
        self._bell = bell
        self._alarms = alarms or Alarms()
        self.branches = Branches(
            participant,
            self.announcer,
            clock,
            skew_allowance_ms=skew_allowance_ms,
            # A lease outlives the call, so that nobody takes over what is still under way.
            lease_ms=round(effect_timeout * 1000) + 2_000,
            republish_ms=republish_ms,
            retention_ms=retention_ms,
        )
        self._intents: Intents[C] | None = None
        if participant.effect is not None:
            self._intents = Intents(participant.effect, self.branches, database, clock, effect_timeout)
        self._tries = self._way_in(registry)

    async def handle(self, command: Command[C]) -> Answer:
        """Do one command, durably.

        Raises Refused (and its kinds: NotFound, Conflict) where it is declined, Transient where it can't be
        done now. A Cancel whose external effect has yet to end is answered with the verdict UNDO and a state
        other than CANCELLED: ask again.
        """
        traced = _traced(command)
        try:
            step = await self._take(traced)
            return await self._complete(traced, step)
        except Exception as error:
            self._alarm(command, error)
            raise

    async def handle_batch(self, commands: Sequence[Command[C]]) -> list[Answer | Exception]:
        """Do many commands in one local transaction; return for each its answer or what handle would raise.

        One that fails is undone alone. Raises DatabaseUnavailable, with nothing changed, for all of them.
        """
        traced = [_traced(command) for command in commands]
        steps = await self.database.write(lambda connection: self._take_all(connection, traced))
        if any(isinstance(step, Step) and step.to_do for step in steps):
            return list(await asyncio.gather(*map(self._finish, traced, steps)))
        return [await self._finish(command, step) for command, step in zip(traced, steps, strict=True)]

    def hold(self, connection: Connection, command: Command[C]) -> Fence:
        """Do a Try inside a local transaction of the caller's own; raise what handle would raise.

        For an initiator, which may hold its own branch in the commit with which it begins. Not for a
        participant with an external effect, whose Try takes more than one transaction.
        """
        assert self._intents is None, f"{self.participant.name} has an external effect"
        answer = self.branches.take(connection, command).answer
        if answer.state is State.CANCELLED:
            raise refusal_of(answer.fence)
        return answer.fence

    async def request_confirm(self, branch_id: str) -> Answer:
        """Decide the Confirm of a standalone reservation, which then travels over Kafka.

        Returns it CONFIRMING, or CONFIRMED where that is done already. Raises NotFound, and Refused where
        it belongs to a transaction, has expired, or is cancelled.
        """
        traceparent = current_traceparent()
        return await self.database.write(
            lambda connection: self.branches.request_confirm(connection, branch_id, traceparent)
        )

    async def recover(self, branch_id: str) -> Answer | None:
        """Carry on an external effect whose lease has run out; None where there is none (any more).

        Raises Transient where its outcome stays unknown, or where this participant has no effect (any more).
        """
        if self._intents is None:
            held = await self.find(branch_id)
            if held is not None and held.intent is not None:
                raise effect_missing(held)
            return None
        answer = await self._intents.recover(branch_id)
        if answer is not None:
            self._ring(answer.fence)
        return answer

    async def find(self, branch_id: str) -> Fence | None:
        """Return a branch as it stands, or None where it is unknown."""
        return await self.database.read(lambda connection: fence.peek(connection, branch_id))

    async def page(self, state: State | None, after: str, most: int) -> list[Fence]:
        """Return up to `most` branches (in that state) whose id comes after `after`, by id."""
        return await self.database.read(lambda connection: fence.page(connection, state, after, most))

    async def wait_for(self, branch_id: str, states: frozenset[State], seconds: float) -> Fence | None:
        """Wait until the branch is in one of the states; None where it isn't in time."""

        async def look() -> Fence | None:
            held = await self.find(branch_id)
            return held if held is not None and held.state in states else None

        return await self._bell.wait(branch_id, look, seconds)

    def _way_in(self, registry: CollectorRegistry | None) -> Tries[C] | None:
        """Return how Trys come to the database; None: as any other command does."""
        if self.participant.foresee is not None:
            return Foreseen(self.participant.foresee, self.branches, self.database, registry)
        if self.participant.on_tries is not None:
            return Gathered(self.branches, self.database, self._take_all, registry)
        return None

    async def _take(self, command: Command[C]) -> Step:
        if self._tries is not None and command.phase is Phase.TRY:
            return await self._tries.take(command)
        return await self.database.write(lambda connection: self.branches.take(connection, command))

    def _take_all(self, connection: Connection, commands: Sequence[Command[C]]) -> "list[Step | Exception]":
        steps: list[Step | Exception] = []
        settled = {command.branch_id for command in commands if command.phase is not Phase.TRY}
        known = fence.read_many(connection, settled) if settled else {}
        for command in commands:
            try:
                with Savepoint(connection):
                    if command.phase is Phase.TRY:
                        step = self.branches.take(connection, command)
                    else:
                        step = self.branches.settle(connection, command, known.get(command.branch_id))
                known[command.branch_id] = step.answer.fence
                steps.append(step)
            except Exception as error:
                if is_store_failure(error):
                    # Nothing in this transaction can be trusted to commit.
                    raise
                steps.append(error)
        return steps

    async def _complete(self, command: Command[C], step: Step) -> Answer:
        answer = step.answer
        if step.to_do:
            assert self._intents is not None
            answer = await self._intents.carry_out(step, command.traceparent)
        self._ring(answer.fence)
        if command.phase is Phase.TRY and answer.state in (State.CANCELLING, State.CANCELLED):
            raise refusal_of(answer.fence)
        return answer

    async def _finish(self, command: Command[C], step: Step | Exception) -> Answer | Exception:
        """Complete one command of a batch; its failure is its own answer."""
        if isinstance(step, Exception):
            self._alarm(command, step)
            return step
        try:
            return await self._complete(command, step)
        except Exception as error:  # noqa: BLE001 - it belongs to this command alone
            self._alarm(command, error)
            return error

    def _alarm(self, command: Command[C], error: Exception) -> None:
        self._alarms.raise_for(error, self.participant.name, command.branch_id, command.phase)

    def _ring(self, held: Fence) -> None:
        # Who waits for the transaction (an order's customer) may not know the branch.
        self._bell.ring(held.id)
        if held.transaction_id is not None:
            self._bell.ring(held.transaction_id)


def _traced(command: Command[C]) -> Command[C]:
    traceparent = current_traceparent() if command.traceparent is None else None
    return command if traceparent is None else command._replace(traceparent=traceparent)
