"""What passes between a door and a participant: the command, the answer, and what a rule is told.

They are named tuples, which are made in half of a frozen dataclass's time.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel
from sqlalchemy import Connection

from shared.clock import Millis
from shared.tcc.fence import Fence
from shared.tcc.protocol import Phase, State, Verdict

C = TypeVar("C", bound=BaseModel)


class Context(NamedTuple):
    """What a rule may want to know besides the claim.

    reason: the slug given with a Cancel; foreseen: what the participant's `foresee` read before the
    transaction, or what is known to whoever holds within a transaction of his own; None where nothing is.
    """

    branch_id: str
    transaction_id: str | None
    now: Millis
    reason: str | None = None
    foreseen: Any = None


Rule = Callable[[Connection, C, Context], None]
BatchRule = Callable[[Connection, Sequence[tuple[C, Context]]], None]


class Command(NamedTuple, Generic[C]):
    """Something a door was asked to do to one branch.

    transaction_id: None for a standalone reservation; claim and expires_at: for Try; reason: for Cancel;
    traceparent: what the messages that follow from it carry on; foreseen: see Context.
    """

    phase: Phase
    branch_id: str
    transaction_id: str | None
    claim: C | None = None
    expires_at: Millis | None = None
    reason: str | None = None
    traceparent: str | None = None
    foreseen: Any = None


class Answer(NamedTuple):
    """What became of a command: what was done about it, and the branch as it stands now, durably."""

    verdict: Verdict
    fence: Fence

    @property
    def state(self) -> State:
        return self.fence.state
