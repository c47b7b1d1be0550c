"""What a participant asks the coordinator instead of its own clock: what was decided about a reservation that
has expired, and which of those that ended long ago it may forget."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.clock import Millis, from_iso
from shared.errors import Unreachable
from shared.http.caller import Caller, Reply
from shared.tcc.protocol import State

INQUIRY_TIMEOUT: Final = 5.0
"""The bound on one inquiry, in seconds."""


class Decision(BaseModel):
    """The coordinator's answer. state: of the transaction; deadline: ISO 8601; reason: of a cancel."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    decision: Literal["confirm", "cancel", "wait"]
    state: str | None = None
    deadline: str | None = None
    reason: str | None = None

    @property
    def deadline_at(self) -> Millis | None:
        """The deadline as an instant, or None where none was given that can be read."""
        try:
            return None if self.deadline is None else from_iso(self.deadline)
        except ValueError:
            return None


class Settled(NamedTuple):
    """A branch with which its participant has nothing left to do. state: CONFIRMED or CANCELLED."""

    transaction_id: str
    branch_id: str
    state: State


class Asks(Protocol):
    """Whoever can tell what became of a transaction."""

    async def ask(self, transaction_id: str, branch_id: str) -> Decision:
        """Return the decision about a branch; raise Unreachable where nobody can tell now."""
        ...


class Remembers(Protocol):
    """Whoever can tell which branches are needed no more."""

    async def forgettable(self, branches: Sequence[Settled]) -> frozenset[str]:
        """Return the ids of those (of 200 at most); raise Unreachable where nobody can tell now."""
        ...


class Inquires(Asks, Remembers, Protocol):
    """The coordinator as far as a participant asks it."""


class Inquirer:
    """Asks the coordinator over HTTP. coordinator_url: its base URL, without a slash at its end."""

    def __init__(self, caller: Caller, coordinator_url: str, timeout: float = INQUIRY_TIMEOUT) -> None:
        self._caller = caller
        self._base = f"{coordinator_url}/api/v1"
        self._timeout = timeout

    async def ask(self, transaction_id: str, branch_id: str) -> Decision:
        """Return the decision; raise Unreachable where no usable answer came."""
        reply = await self._call(f"/transactions/{transaction_id}/inquiries", {"branchId": branch_id})
        if reply.status != 200:
            raise Unreachable(f"The coordinator answered {reply.status} about transaction {transaction_id}.")
        try:
            return Decision.model_validate_json(reply.body)
        except ValidationError as error:
            raise Unreachable(
                f"The coordinator's answer about transaction {transaction_id} can't be read."
            ) from error

    async def forgettable(self, branches: Sequence[Settled]) -> frozenset[str]:
        """Return the ids of those branches (200 at most) that are needed no more; raise as ask does."""
        asked = [
            {"transactionId": one.transaction_id, "branchId": one.branch_id, "state": one.state.value}
            for one in branches
        ]
        reply = await self._call("/branches/forgettable", {"branches": asked})
        if reply.status != 200:
            raise Unreachable(f"The coordinator answered {reply.status} about what may be forgotten.")
        try:
            return frozenset(_Forgettable.model_validate_json(reply.body).branch_ids)
        except ValidationError as error:
            raise Unreachable(
                "The coordinator's answer about what may be forgotten can't be read."
            ) from error

    async def _call(self, path: str, body: Mapping[str, Any]) -> Reply:
        return await self._caller.call(
            "POST",
            self._base + path,
            headers={"content-type": "application/json"},
            body=pydantic_core.to_json(body),
            timeout=self._timeout,
        )


class _Forgettable(BaseModel):
    branch_ids: list[str] = Field(alias="branchIds")
