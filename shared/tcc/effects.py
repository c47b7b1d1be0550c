"""External effects: what a participant does outside its database, in three steps that survive a crash.

Commit 1 writes the fence and the intent under the gateway's idempotency key; then the call; commit 2 writes
its answer. Whoever finds an intent without an answer looks the effect up before it tries again.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from shared.tcc.protocol import Phase

C_contra = TypeVar("C_contra", bound=BaseModel, contravariant=True)


class ExternalEffect(Protocol[C_contra]):
    """What happens outside, phase by phase: Try authorises, Confirm captures, Cancel voids."""

    async def perform(self, phase: Phase, key: str, claim: C_contra) -> Mapping[str, Any]:
        """Do it under the idempotency key; return what to remember of it (JSON).

        Repeating a key changes nothing and answers as before. Raises Refused where the other side says no,
        Transient where its answer is unknown. A Cancel of what never happened is done.
        """
        ...

    async def look_up(self, phase: Phase, key: str) -> Mapping[str, Any] | None:
        """Return what perform would have returned had it happened under the key, or None where it didn't.

        Raises Refused where it was declined, Transient where that can't be told now.
        """
        ...
