"""External effects: what a participant does outside its database, in three steps that survive a crash.

Commit 1 writes the fence and the intent under the gateway's idempotency key; then the call; commit 2 writes
its answer. Whoever finds an intent without an answer looks the effect up before it tries again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from shared.tcc.protocol import Phase

C_co = TypeVar("C_co", bound=BaseModel, covariant=True)
C_contra = TypeVar("C_contra", bound=BaseModel, contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent(Generic[C_co]):
    """One effect that is to happen once.

    key: its idempotency key, `<branch id>:<phase>`; remembered: what the branch's effect answered before
    (for Confirm and Cancel what Try returned), {} where nothing was ever heard; attempt: how often its
    outcome stayed unknown before, for gateways that would repeat an error under its key.
    """

    phase: Phase
    branch_id: str
    transaction_id: str | None
    claim: C_co
    remembered: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 0

    @property
    def key(self) -> str:
        return f"{self.branch_id}:{self.phase.value}"


class ExternalEffect(Protocol[C_contra]):
    """What happens outside, phase by phase: Try authorises, Confirm captures, Cancel voids."""

    async def perform(self, intent: Intent[C_contra]) -> Mapping[str, Any]:
        """Do it under the idempotency key; return what to remember of it (JSON).

        Repeating a key changes nothing and answers as before. Raises Refused where the other side says no,
        Transient where its answer is unknown. A Cancel of what never happened is done, and a Try that
        arrives at the other side after its Cancel must not take hold there.
        """
        ...

    async def look_up(self, intent: Intent[C_contra]) -> Mapping[str, Any] | None:
        """Return what perform would have returned had it happened under the key, or None where it didn't.

        Raises Refused where it was declined, Transient where that can't be told now.
        """
        ...
