"""What one local transaction does to one branch: look at the fence, ask the verdict table, run the rule.

Nothing here waits or calls anybody. Where a participant has an external effect, the transaction writes the
intent and leaves the call to `shared.tcc.intents`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple

from sqlalchemy import Connection

from shared.clock import Clock, Millis
from shared.database.port import Savepoint
from shared.errors import Conflict, Refused
from shared.tcc import fence
from shared.tcc.command import Answer, C, Command, Context
from shared.tcc.confirmations import Announcer
from shared.tcc.fence import Fence
from shared.tcc.protocol import VERDICTS, Phase, State, Verdict
from shared.tcc.refusals import (
    check_expiry,
    check_owner,
    contradiction,
    effect_missing,
    encode_refusal,
    gone,
    under_way,
    unknown,
)

if TYPE_CHECKING:
    from shared.tcc.participant import Participant


class Step(NamedTuple):
    """What a local transaction did.

    to_do: whoever asked now holds the lease of the branch's external effect and has to carry it out;
    look_first: it was begun before, so it may have happened already.
    """

    answer: Answer
    to_do: bool = False
    look_first: bool = False


class Branches(Generic[C]):
    """The branches of one participant, as its local transactions see them.

    lease_ms: how long an external effect belongs to who began it; republish_ms: when the Confirm of a
    standalone reservation is published again if nothing was heard; retention_ms: for how long a branch is
    kept after its deadline at least.
    """

    def __init__(
        self,
        participant: "Participant[C]",
        announcer: Announcer,
        clock: Clock,
        *,
        skew_allowance_ms: Millis,
        lease_ms: Millis,
        republish_ms: Millis,
        retention_ms: Millis,
    ) -> None:
        self._participant = participant
        self._announcer = announcer
        self._clock = clock
        self._skew_allowance_ms = skew_allowance_ms
        self._lease_ms = lease_ms
        self._republish_ms = republish_ms
        # Half of it, so that clocks may differ by the other half.
        self._forgotten_ms = retention_ms // 2
        self._acts: Final[dict[Verdict, Callable[[Connection, Command[C], Fence, Millis], Step]]] = {
            Verdict.APPLY: self._apply,
            Verdict.REPEAT: self._repeat,
            Verdict.REFUSE: self._refuse,
            Verdict.WAIT: self._wait,
            Verdict.UNDO: self._undo,
            Verdict.CONFLICT: self._conflict,
        }

    def take(self, connection: Connection, command: Command[C]) -> Step:
        """Do what the verdict table says about a command.

        Raises Refused, Conflict or Transient where nothing is to be written. A refusal that is written (a
        coordinated Try that is late, or that the rule declines) is returned with the verdict REFUSE.
        """
        if command.phase is Phase.TRY:
            return self._try(connection, command, self._clock.now())
        return self.settle(connection, command, fence.read(connection, command.branch_id))

    def settle(self, connection: Connection, command: Command[C], held: Fence | None) -> Step:
        """Do the same for a Confirm or a Cancel. held: the branch as this transaction has read it."""
        now = self._clock.now()
        if held is None:
            if VERDICTS[State.ABSENT, command.phase] is Verdict.ENTOMB:
                return self._entomb(connection, command, now)
            raise unknown(command.branch_id)
        return self._act(connection, command, held, now)

    def take_together(self, connection: Connection, commands: Sequence[Command[C]]) -> list[Step]:
        """Do many Trys at once, all of them new: their fences first, then the rule, for all together.

        Raises whatever tells that they have to be done one by one: a branch that is known already, a deadline
        that has passed, a refusal. What was written then has to be undone.
        """
        rule = self._participant.on_tries
        assert rule is not None, f"{self._participant.name} has no rule for many Trys"
        now = self._clock.now()
        held: list[Fence] = []
        holds: list[tuple[C, Context]] = []
        for command in commands:
            claim, fresh = self._fresh(command, now)
            self._check_deadline(fresh, now)
            held.append(fresh)
            holds.append((claim, context_of(fresh, now)))
        fence.insert_all(connection, held)
        rule(connection, holds)
        return [Step(Answer(Verdict.APPLY, fresh)) for fresh in held]

    def request_confirm(self, connection: Connection, branch_id: str, traceparent: str | None) -> Answer:
        """Decide the Confirm of a standalone reservation and put its message into the outbox."""
        now = self._clock.now()
        held = fence.read(connection, branch_id)
        if held is None:
            raise unknown(branch_id)
        check_owner(held, None)
        if held.state in (State.CONFIRMING, State.CONFIRMED):
            return Answer(Verdict.REPEAT, held)
        if held.state is State.TRYING:
            raise under_way(held)
        if held.state is not State.TRIED:
            raise gone(held)
        check_expiry(held, now)
        moved = fence.move(
            connection,
            held,
            state=State.CONFIRMING,
            attempts=0,
            due_at=now + self._republish_ms,
            updated_at=now,
        )
        self.publish_confirm(connection, moved, traceparent)
        return Answer(Verdict.APPLY, moved)

    def publish_confirm(self, connection: Connection, held: Fence, traceparent: str | None) -> None:
        """Put the Confirm of a standalone reservation into the outbox."""
        key = self._participant.key(held.id, self.claim_of(held))
        self._announcer.confirm(connection, self._participant.topic, key, held, traceparent)

    def finish_confirm(
        self, connection: Connection, held: Fence, now: Millis, traceparent: str | None, **changes: Any
    ) -> Fence:
        """Move to CONFIRMED, run the rule, and tell the coordinator."""
        moved = fence.move(
            connection, held, **{**_SETTLED, **changes, "state": State.CONFIRMED, "updated_at": now}
        )
        self._participant.on_confirm(connection, self.claim_of(held), context_of(moved, now))
        self._announcer.confirmed(connection, moved, traceparent)
        return moved

    def finish_cancel(self, connection: Connection, held: Fence, now: Millis, **changes: Any) -> Fence:
        """Move to CANCELLED and run the rule that lets go."""
        moved = fence.move(
            connection, held, **{**_SETTLED, **changes, "state": State.CANCELLED, "updated_at": now}
        )
        self._participant.on_cancel(connection, self.claim_of(held), context_of(moved, now))
        return moved

    def begin_effect(self, connection: Connection, held: Fence, now: Millis, **changes: Any) -> Fence:
        """Write the intent of an external effect, and with it the lease of who is to carry it out."""
        leased: dict[str, Any] = {"due_at": now + self._lease_ms, "in_doubt": False, "updated_at": now}
        return fence.move(connection, held, **(leased | changes))

    def await_confirm(self, connection: Connection, held: Fence, now: Millis) -> Fence:
        """Give the intent of a Confirm up: it is decided, and applied when it is sent the next time."""
        due_at = now + self._republish_ms if held.transaction_id is None else None
        return fence.move(connection, held, intent=None, in_doubt=False, due_at=due_at, updated_at=now)

    def claim_of(self, held: Fence) -> C:
        """Read the claim back from the fence row."""
        assert held.claim is not None, f"{held.id} is a tombstone: it claims nothing"
        return self._participant.claim.model_validate_json(held.claim)

    def _try(self, connection: Connection, command: Command[C], now: Millis) -> Step:
        claim, fresh = self._fresh(command, now)
        self._check_memory(connection, fresh, now)
        if not fence.insert(connection, fresh):
            held = fence.read(connection, command.branch_id)
            assert held is not None
            if held.claim_hash not in (None, fresh.claim_hash):
                raise Conflict("branch-id-reused", f"Branch {held.id} was tried with another body.")
            return self._act(connection, command, held, now)
        context = context_of(fresh, now)._replace(foreseen=command.foreseen)
        if command.transaction_id is None:
            # Nobody can repeat a standalone Try, so a refused one leaves no trace.
            self._participant.on_try(connection, claim, context)
            return Step(Answer(Verdict.APPLY, fresh), to_do=fresh.intent is not None)
        try:
            # Its lateness is written down like any refusal: nobody cancels what was refused, and by a clock
            # that is set back, a copy of it would be in time.
            self._check_deadline(fresh, now)
            with Savepoint(connection):
                self._participant.on_try(connection, claim, context)
        except Refused as refusal:
            refused = fence.move(
                connection,
                fresh,
                state=State.CANCELLED,
                intent=None,
                due_at=None,
                reason=refusal.slug[:200],
                refusal=encode_refusal(refusal),
            )
            return Step(Answer(Verdict.REFUSE, refused))
        return Step(Answer(Verdict.APPLY, fresh), to_do=fresh.intent is not None)

    def _check_memory(self, connection: Connection, fresh: Fence, now: Millis) -> None:
        """Refuse a Try that is so late that its branch may be forgotten, without a trace: a branch that was
        confirmed must not come back as one that was cancelled."""
        assert fresh.expires_at is not None
        if now > fresh.expires_at + self._forgotten_ms and fence.peek(connection, fresh.id) is None:
            raise Refused("reservation-expired", "The deadline of this Try passed long ago.", 410)

    def _check_deadline(self, held: Fence, now: Millis) -> None:
        assert held.expires_at is not None
        if now > held.expires_at + self._skew_allowance_ms:
            raise Refused("reservation-expired", "The deadline of this Try has passed.", 410)

    def _fresh(self, command: Command[C], now: Millis) -> tuple[C, Fence]:
        """Return what a Try claims, and the fence with which it begins."""
        claim, expires_at = command.claim, command.expires_at
        assert claim is not None
        assert expires_at is not None
        # The door's model may carry more than the claim; only the claim is kept, shown and compared.
        serializer = self._participant.claim.__pydantic_serializer__
        encoded = serializer.to_json(claim, by_alias=True, exclude_none=True).decode()
        outside = self._participant.effect is not None
        fresh = Fence(
            id=command.branch_id,
            transaction_id=command.transaction_id,
            state=State.TRYING if outside else State.TRIED,
            claim=encoded,
            claim_hash=hashlib.sha256(encoded.encode()).hexdigest(),
            expires_at=expires_at,
            reason=None,
            refusal=None,
            in_doubt=False,
            intent=Phase.TRY if outside else None,
            undo=False,
            effect=None,
            attempts=0,
            due_at=now + self._lease_ms if outside else expires_at,
            created_at=now,
            updated_at=now,
        )
        return claim, fresh

    def _entomb(self, connection: Connection, command: Command[C], now: Millis) -> Step:
        """Remember a Cancel that came before its Try."""
        if command.transaction_id is None:
            raise unknown(command.branch_id)
        tombstone = Fence(
            id=command.branch_id,
            transaction_id=command.transaction_id,
            state=State.CANCELLED,
            claim=None,
            claim_hash=None,
            expires_at=None,
            reason=command.reason,
            refusal=None,
            in_doubt=False,
            intent=None,
            undo=False,
            effect=None,
            attempts=0,
            due_at=None,
            created_at=now,
            updated_at=now,
        )
        if not fence.insert(connection, tombstone):
            # The Try came in between, where a database lets two writers in at once.
            return self.take(connection, command)
        if self._participant.on_tombstone is not None:
            self._participant.on_tombstone(connection, context_of(tombstone, now))
        return Step(Answer(Verdict.ENTOMB, tombstone))

    def _act(self, connection: Connection, command: Command[C], held: Fence, now: Millis) -> Step:
        check_owner(held, command.transaction_id)
        return self._acts[VERDICTS[held.state, command.phase]](connection, command, held, now)

    def _apply(self, connection: Connection, command: Command[C], held: Fence, now: Millis) -> Step:
        # A branch ends as it began: one that was tried outside is settled outside, any other one here alone,
        # whatever effect the participant has by now.
        if held.outside:
            self._require_effect(held)
            return self._intend(connection, command, held, now)
        if command.phase is Phase.CONFIRM:
            if held.state is State.TRIED and held.transaction_id is None:
                check_expiry(held, now)
            moved = self.finish_confirm(connection, held, now, command.traceparent)
        else:
            moved = self.finish_cancel(connection, held, now, reason=command.reason)
        return Step(Answer(Verdict.APPLY, moved))

    def _intend(self, connection: Connection, command: Command[C], held: Fence, now: Millis) -> Step:
        if held.leased(now):
            raise under_way(held)
        if command.phase is Phase.CONFIRM:
            if held.state is State.TRIED and held.transaction_id is None:
                check_expiry(held, now)
            changes: dict[str, Any] = {"state": State.CONFIRMING}
        else:
            changes = {"state": State.CANCELLING, "reason": command.reason}
        begun = held.intent is command.phase
        moved = self.begin_effect(connection, held, now, intent=command.phase, **changes)
        return Step(Answer(Verdict.APPLY, moved), to_do=True, look_first=begun)

    def _repeat(self, connection: Connection, command: Command[C], held: Fence, _now: Millis) -> Step:
        if command.phase is Phase.CONFIRM:
            # The acknowledgement may have been lost: it is given again.
            self._announcer.confirmed(connection, held, command.traceparent)
        return Step(Answer(Verdict.REPEAT, held))

    def _refuse(self, _connection: Connection, _command: Command[C], held: Fence, _now: Millis) -> Step:
        return Step(Answer(Verdict.REFUSE, held))

    def _wait(self, connection: Connection, command: Command[C], held: Fence, now: Millis) -> Step:
        if held.leased(now) or held.intent is not command.phase:
            raise under_way(held)
        if command.phase is Phase.TRY:
            self._check_deadline(held, now)
        self._require_effect(held)
        # Whoever began it is gone: this command carries it on.
        moved = self.begin_effect(connection, held, now)
        return Step(Answer(Verdict.APPLY, moved), to_do=True, look_first=True)

    def _undo(self, connection: Connection, command: Command[C], held: Fence, now: Millis) -> Step:
        self._require_effect(held)
        reason = held.reason or command.reason
        if held.leased(now):
            moved = fence.move(connection, held, undo=True, reason=reason, updated_at=now)
            return Step(Answer(Verdict.UNDO, moved))
        moved = self.begin_effect(connection, held, now, undo=True, reason=reason)
        return Step(Answer(Verdict.UNDO, moved), to_do=True, look_first=True)

    def _require_effect(self, held: Fence) -> None:
        if self._participant.effect is None:
            raise effect_missing(held)

    def _conflict(self, _connection: Connection, command: Command[C], held: Fence, _now: Millis) -> Step:
        raise contradiction(held, command.phase)


_SETTLED: Final[Mapping[str, Any]] = {"intent": None, "due_at": None, "in_doubt": False, "attempts": 0}
"""What becomes of a fence's to-do list at its end."""


def context_of(held: Fence, now: Millis) -> Context:
    """Return what a rule is told about a branch."""
    return Context(held.id, held.transaction_id, now, held.reason)
