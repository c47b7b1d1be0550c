"""A participant as a value, and `handle`, through which every command comes: HTTP, Kafka and sweeper alike.

A participant is a name, a claim model and three rules. A rule is a plain function over a connection and a
claim; it raises Refused where business says no, Transient where it can't be done now. It runs in the same
transaction as the move of the fence, so that both are true or neither is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel
from sqlalchemy import Connection

from shared.clock import Millis
from shared.tcc.effects import ExternalEffect
from shared.tcc.protocol import Phase

C = TypeVar("C", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may want to know besides the claim. reason: the slug given with a Cancel."""

    branch_id: str
    transaction_id: str | None
    now: Millis
    reason: str | None = None


Rule = Callable[[Connection, C, Context], None]


@dataclass(frozen=True, kw_only=True)
class Participant(Generic[C]):
    """One participant of the protocol.

    name: as registered with the coordinator; collection: its reservations' path below /api/v1;
    topic: where its Confirms travel; claim: the model of what is claimed (strict, unknown fields refused);
    on_try holds, on_confirm keeps, on_cancel lets go; key: the Kafka key of a reservation's Confirm, from
    branch id and claim; on_tombstone: what a Cancel does that came before its Try;
    effect: what happens outside the database, if anything does.
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
    effect: ExternalEffect[C] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Generic[C]):
    """Something a door was asked to do to one branch.

    transaction_id: None for a standalone reservation; claim and expires_at: for Try; reason: for Cancel.
    """

    phase: Phase
    branch_id: str
    transaction_id: str | None
    claim: C | None = None
    expires_at: Millis | None = None
    reason: str | None = None
