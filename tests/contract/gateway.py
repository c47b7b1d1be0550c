"""A payment gateway to be afraid of: slow, dying, forgetful. What it did is done, said or not."""

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from shared.errors import Refused, Transient, Unreachable
from shared.tcc.effects import Intent
from shared.tcc.protocol import Phase


class Fault(StrEnum):
    DIES_BEFORE = "dies before it acts"
    DIES_AFTER = "dies after it acted"
    FORGETS = "acts and can't tell"
    HANGS_BEFORE = "hangs before it acts"
    HANGS_AFTER = "acts and hangs"


class Gateway:
    """An external effect with an authorisation for each branch.

    faults: what goes wrong; each key meets them in their order, one a call, and then is served; so does each
    look-up. A Cancel bars its branch, so that a Try which arrives after it takes no hold.
    """

    def __init__(self, *faults: Fault, declines: frozenset[Phase] = frozenset()) -> None:
        self._faults = faults
        self.declines = declines
        self._met: dict[str, int] = {}
        self.performed: dict[str, Mapping[str, Any] | Refused] = {}
        self._authorised: dict[str, int] = {}
        self._barred: set[str] = set()
        self.held = 0
        self.kept = 0
        self.calls: list[str] = []

    async def perform(self, intent: Intent[Any]) -> Mapping[str, Any]:
        self.calls.append(f"perform {intent.key}")
        fault = self._next_fault(intent.key)
        if fault is Fault.DIES_BEFORE:
            raise ConnectionResetError("The gateway died.")
        if fault is Fault.HANGS_BEFORE:
            await asyncio.Event().wait()
        answer = self._act(intent)
        if fault is Fault.DIES_AFTER:
            raise ConnectionResetError("The gateway died.")
        if fault is Fault.FORGETS:
            raise Unreachable("The gateway forgot to answer.")
        if fault is Fault.HANGS_AFTER:
            await asyncio.Event().wait()
        if isinstance(answer, Refused):
            raise answer
        return answer

    async def look_up(self, intent: Intent[Any]) -> Mapping[str, Any] | None:
        self.calls.append(f"look up {intent.key}")
        if self._next_fault(f"look up {intent.key}") is not None:
            raise Transient("The gateway can't tell now.")
        answer = self.performed.get(intent.key)
        if isinstance(answer, Refused):
            raise answer
        return answer

    def _act(self, intent: Intent[Any]) -> Mapping[str, Any] | Refused:
        """Do it, once for each key."""
        if intent.key not in self.performed:
            self.performed[intent.key] = self._do(intent)
        return self.performed[intent.key]

    def _do(self, intent: Intent[Any]) -> Mapping[str, Any] | Refused:
        branch, count = intent.branch_id, intent.claim.count
        if intent.phase in self.declines:
            return Refused("declined-outside", f"The gateway declines to {intent.phase.value}.", 402)
        if intent.phase is Phase.TRY:
            if branch in self._barred:
                return Refused("barred", "It was cancelled before.")
            self._authorised[branch] = count
            self.held += count
            return {"authorisation": f"auth-{branch}"}
        if intent.phase is Phase.CONFIRM:
            assert intent.remembered == {"authorisation": f"auth-{branch}"}
            self._authorised.pop(branch)
            self.held -= count
            self.kept += count
            return {"capture": f"capture-{branch}"}
        self._barred.add(branch)
        self.held -= self._authorised.pop(branch, 0)
        return {}

    def _next_fault(self, key: str) -> Fault | None:
        met = self._met.get(key, 0)
        self._met[key] = met + 1
        return self._faults[met] if met < len(self._faults) else None
