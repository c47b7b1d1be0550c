"""Inquiry: what a participant asks the coordinator about an expired reservation, instead of its own clock."""

from typing import Final, Literal, Protocol

import pydantic_core
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.clock import Millis, from_iso
from shared.errors import Unreachable
from shared.http.caller import Caller

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


class Asks(Protocol):
    """Whoever can tell what became of a transaction."""

    async def ask(self, transaction_id: str, branch_id: str) -> Decision:
        """Return the decision about a branch; raise Unreachable where nobody can tell now."""
        ...


class Inquirer:
    """Asks the coordinator over HTTP. coordinator_url: its base URL, without a slash at its end."""

    def __init__(self, caller: Caller, coordinator_url: str, timeout: float = INQUIRY_TIMEOUT) -> None:
        self._caller = caller
        self._base = f"{coordinator_url}/api/v1/transactions/"
        self._timeout = timeout

    async def ask(self, transaction_id: str, branch_id: str) -> Decision:
        """Return the decision; raise Unreachable where no usable answer came."""
        reply = await self._caller.call(
            "POST",
            f"{self._base}{transaction_id}/inquiries",
            headers={"content-type": "application/json"},
            body=pydantic_core.to_json({"branchId": branch_id}),
            timeout=self._timeout,
        )
        if reply.status != 200:
            raise Unreachable(f"The coordinator answered {reply.status} about transaction {transaction_id}.")
        try:
            return Decision.model_validate_json(reply.body)
        except ValidationError as error:
            raise Unreachable(
                f"The coordinator's answer about transaction {transaction_id} can't be read."
            ) from error
