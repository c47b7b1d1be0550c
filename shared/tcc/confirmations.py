"""Confirmations over Kafka: what the messages look like, and the door through which they come in.

A Confirm travels to the participant's topic; its outcome (`confirmed`, or `dead-lettered` where it could
not be applied) travels back on `tcc-outcomes`. Both are written into the outbox of the transaction whose
news they carry.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import pydantic_core
from pydantic import Field
from sqlalchemy import Connection

from shared.clock import Clock, Millis, iso
from shared.errors import Refused
from shared.http.model import Instant
from shared.identity import Id
from shared.messaging.broker import Message, Record
from shared.messaging.cloudevents import event_headers
from shared.messaging.listener import Listener, Subject
from shared.messaging.outbox import Outbox
from shared.messaging.retry import Retry
from shared.messaging.values import InvalidMessage, Value, read_value
from shared.tcc import fence
from shared.tcc.command import C, Command
from shared.tcc.fence import Fence
from shared.tcc.protocol import Phase
from shared.tcc.refusals import Pending

if TYPE_CHECKING:
    from shared.messaging.letters import DeadLetter
    from shared.tcc.participant import ParticipantHost

OUTCOMES: Final = "tcc-outcomes"
"""The topic on which participants tell the coordinator what became of a Confirm."""


class Confirm(Value):
    """The value of a confirm message. transactionId: left out for a standalone reservation."""

    transaction_id: Id | None = Field(default=None, alias="transactionId")
    reservation_id: Id = Field(alias="reservationId")
    decision: Literal["confirm"]
    decided_at: Instant = Field(alias="decidedAt")


class Outcome(Value):
    """The value of an outcome message."""

    transaction_id: Id = Field(alias="transactionId")
    branch_id: Id = Field(alias="branchId")
    outcome: Literal["confirmed", "dead-lettered"]
    reason: str | None = None
    at: Instant


def confirm_message(
    topic: str,
    key: str,
    *,
    reservation_id: str,
    decided_at: Millis,
    source: str,
    transaction_id: str | None = None,
    traceparent: str | None = None,
) -> Message:
    """Return the message that confirms one reservation. transaction_id: None for a standalone one.

    Its event id is the same whenever it is published again, so that every receiver can tell a repeat.
    """
    value: dict[str, Any] = {} if transaction_id is None else {"transactionId": transaction_id}
    value |= {"reservationId": reservation_id, "decision": "confirm", "decidedAt": iso(decided_at)}
    headers = event_headers(
        event_id=f"{reservation_id}.confirm",
        source=source,
        event_type="handfast.confirm",
        at=decided_at,
        traceparent=traceparent,
    )
    return Message(topic, key.encode(), pydantic_core.to_json(value), headers)


def outcome_message(
    *,
    transaction_id: str,
    branch_id: str,
    outcome: Literal["confirmed", "dead-lettered"],
    at: Millis,
    source: str,
    reason: str | None = None,
    traceparent: str | None = None,
) -> Message:
    """Return the message that tells the coordinator what became of a branch's Confirm."""
    value = {"transactionId": transaction_id, "branchId": branch_id, "outcome": outcome, "at": iso(at)}
    if reason is not None:
        value["reason"] = reason
    headers = event_headers(
        event_id=f"{branch_id}.{outcome}" if outcome == "confirmed" else f"{branch_id}.{outcome}.{at}",
        source=source,
        event_type=f"handfast.{outcome}",
        at=at,
        traceparent=traceparent,
    )
    return Message(OUTCOMES, transaction_id.encode(), pydantic_core.to_json(value), headers)


def read_confirm(record: Record) -> Confirm:
    """Read a confirm message; raise InvalidMessage where it is none."""
    return read_value(Confirm, record.value)


def read_outcome(record: Record) -> Outcome:
    """Read an outcome message; raise InvalidMessage where it is none."""
    return read_value(Outcome, record.value)


def traceparent_of(record: Record) -> str | None:
    """Return the record's traceparent header as text (not checked), or None."""
    header = record.header("traceparent")
    return None if header is None else header.decode("latin-1")


class Announcer:
    """Puts a participant's messages into the outbox of the transaction at hand. source: the program."""

    def __init__(self, outbox: Outbox, clock: Clock, source: str) -> None:
        self._outbox = outbox
        self._clock = clock
        self._source = source

    def confirm(
        self, connection: Connection, topic: str, key: str, held: Fence, traceparent: str | None
    ) -> None:
        """Send a reservation its own Confirm."""
        message = confirm_message(
            topic,
            key,
            reservation_id=held.id,
            transaction_id=held.transaction_id,
            decided_at=self._clock.now(),
            source=self._source,
            traceparent=traceparent,
        )
        self._outbox.add(connection, (message,))

    def confirmed(self, connection: Connection, held: Fence, traceparent: str | None) -> None:
        """Tell the coordinator that the branch is confirmed; a standalone one has nobody to tell."""
        if held.transaction_id is not None:
            self._outcome(connection, held.transaction_id, held.id, "confirmed", None, traceparent)

    def dead_lettered(
        self, connection: Connection, transaction_id: str, branch_id: str, reason: str, trace: str | None
    ) -> None:
        """Tell the coordinator that the branch's Confirm lies among the dead letters, and why."""
        self._outcome(connection, transaction_id, branch_id, "dead-lettered", reason[:500], trace)

    def _outcome(
        self,
        connection: Connection,
        transaction_id: str,
        branch_id: str,
        outcome: Literal["confirmed", "dead-lettered"],
        reason: str | None,
        traceparent: str | None,
    ) -> None:
        message = outcome_message(
            transaction_id=transaction_id,
            branch_id=branch_id,
            outcome=outcome,
            reason=reason,
            at=self._clock.now(),
            source=self._source,
            traceparent=traceparent,
        )
        self._outbox.add(connection, (message,))


def confirmation_listener(host: "ParticipantHost[C]", retry: Retry) -> Listener:
    """Return the Kafka door of a participant: its topic's records, to be consumed by its program."""
    return Listener(
        topic=host.participant.topic,
        handle=_ConfirmationDoor(host).handle,
        subject=_subject,
        retry=retry,
        is_fatal=_is_fatal,
        on_dead_letter=_ConfirmationDoor(host).on_dead_letter,
    )


class _ConfirmationDoor:
    def __init__(self, host: "ParticipantHost[Any]") -> None:
        self._host = host

    async def handle(self, records: Sequence[Record]) -> list[Exception | None]:
        """Apply a batch; return one verdict for each record, in order."""
        verdicts: list[Exception | None] = [None] * len(records)
        commands: list[Command[Any]] = []
        places: list[int] = []
        for place, record in enumerate(records):
            try:
                commands.append(_command(record))
            except InvalidMessage as error:
                verdicts[place] = error
            else:
                places.append(place)
        answers = await self._host.handle_batch(commands) if commands else []
        for place, answer in zip(places, answers, strict=True):
            # A pending one is as good as applied: it is written down here, and the record needed no more.
            if isinstance(answer, Exception) and not isinstance(answer, Pending):
                verdicts[place] = answer
        return verdicts

    def on_dead_letter(self, connection: Connection, record: Record, letter: "DeadLetter") -> None:
        """Put the `dead-lettered` outcome beside the letter, where a transaction waits for it."""
        try:
            message = read_confirm(record)
        except InvalidMessage:
            return  # Nobody can tell which branch it was meant for; the letter is all there is to keep.
        transaction_id = message.transaction_id
        if transaction_id is None:
            held = fence.peek(connection, message.reservation_id)
            transaction_id = None if held is None else held.transaction_id
        if transaction_id is not None:
            self._host.announcer.dead_lettered(
                connection,
                transaction_id,
                message.reservation_id,
                letter.failure.message,
                traceparent_of(record),
            )


def _command(record: Record) -> Command[Any]:
    message = read_confirm(record)
    return Command(
        phase=Phase.CONFIRM,
        branch_id=message.reservation_id,
        transaction_id=message.transaction_id,
        traceparent=traceparent_of(record),
    )


def _subject(record: Record) -> Subject:
    message = read_confirm(record)
    return Subject(message.reservation_id, message.transaction_id)


def _is_fatal(error: Exception) -> bool:
    return isinstance(error, Refused | InvalidMessage)
