"""What a program tells the consumer about a topic: how its records are applied, and what if that fails."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from shared.errors import Refused
from shared.messaging.broker import Record
from shared.messaging.retry import Retry

if TYPE_CHECKING:
    from shared.messaging.letters import DeadLetter

Verdict = Exception | None
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a record is about. branch_id: at most one open letter each; transaction_id: None if standalone."""

    branch_id: str
    transaction_id: str | None = None


def no_consequence(_connection: Connection, _record: Record, _letter: "DeadLetter") -> None:
    """Do nothing more about a dead letter than keep and publish it."""


def fatal_if_refused(error: Exception) -> bool:
    """Say whether trying again is pointless: it was refused, or it isn't even well-formed."""
    return isinstance(error, Refused | ValueError)


@dataclass(frozen=True, kw_only=True)
class Listener:
    """One topic's handler.

    handle: applies records and returns one verdict each, in order: None once it is applied and durable, or
    what went wrong (DatabaseUnavailable never counts as an attempt);
    subject: what a record is about; raises where it can't be decoded (its letter then goes by a hash);
    is_fatal: errors that trying again won't mend; they become a dead letter at once;
    on_dead_letter: what else belongs into the letter's transaction, for example the outcome message.
    """

    topic: str
    handle: Callable[[Sequence[Record]], Awaitable[Sequence[Verdict]]]
    subject: Callable[[Record], Subject]
    retry: Retry
    is_fatal: Callable[[Exception], bool] = fatal_if_refused
    on_dead_letter: Callable[[Connection, Record, "DeadLetter"], None] = no_consequence


def subject_of(listener: Listener, record: Record) -> Subject | None:
    """Return what a record is about, or None where it can't be decoded."""
    try:
        return listener.subject(record)
    except Exception as error:  # noqa: BLE001 - anything may come over a topic, and so may any error
        log.debug("%s/%d@%d can't be decoded: %r", record.topic, record.partition, record.offset, error)
        return None
