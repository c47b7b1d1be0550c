"""What a gate outside the database keeps, as a port: a pass for every live claim, under an epoch.

A pass is a claim's hold on a unit. They are counted, and each customer's are told apart, in the one step in
which a new one is given out. `stock_service.drops.valkey` keeps them in Valkey.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

from shared.clock import Millis
from shared.errors import Transient


class GateUnavailable(Transient):
    """The gate is out of reach: nothing can be claimed now. Try again later."""

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, "gate-unavailable")


class Pass(NamedTuple):
    """at: when it was given out; slot: the customer's place that it holds in the journal (0: none)."""

    claim_id: str
    customer_id: str
    at: Millis
    slot: int = 0


class Answer(IntEnum):
    """What the gate says to a claim."""

    ADMITTED = 0  # also where the claim has its pass already
    SOLD_OUT = 1
    ALREADY_CLAIMED = 2


class Ask(NamedTuple):
    """Claims of one drop, in the order in which they came, and the terms of its epoch."""

    code: str
    epoch: int
    quantity: int
    per_customer: int
    passes: Sequence[Pass]


class Passes(Protocol):
    """Each method raises GateUnavailable where they can't be reached, or nobody knows what happened."""

    async def enter(self, asks: Sequence[Ask]) -> list[list[Answer] | None]:
        """Decide about each drop's claims in one step; None: the passes are of another epoch, or gone."""
        ...

    async def give_back(self, code: str, passes: Sequence[Pass]) -> int:
        """Take passes away where they are there; return how many were."""
        ...

    async def stage(self, code: str, epoch: int, passes: Sequence[Pass]) -> None:
        """Lay passes ready for an epoch that is to begin; call it as often as there are pages."""
        ...

    async def install(self, code: str, epoch: int, count: int) -> bool:
        """Let an epoch begin with the passes laid ready, which must be so many.

        Returns False, with nothing changed, where some are missing or a later epoch has begun.
        """
        ...

    async def epoch(self, code: str) -> int | None:
        """Return the epoch that a drop's passes are of; None: there are none."""
        ...

    async def page(self, code: str, cursor: int) -> tuple[int, list[Pass]]:
        """Return some of a drop's passes, and where to go on (0: that was all; it begins with 0, too)."""
        ...

    async def lacking(self, code: str, passes: Sequence[Pass]) -> list[Pass]:
        """Return those of the passes that are not there."""
        ...

    async def restore(self, code: str, epoch: int, passes: Sequence[Pass]) -> int:
        """Put passes back that are not there, if the epoch is this one; return how many."""
        ...

    async def ping(self) -> None:
        """Raise GateUnavailable unless passes can be kept now."""
        ...

    async def close(self) -> None: ...
