"""Identifiers as a parameter: ULIDs, which sort by the time they were made."""

import random
from collections.abc import Callable
from typing import Annotated

from pydantic import StringConstraints
from ulid import ULID

from shared.clock import Clock

NewId = Callable[[], str]

ID_PATTERN = r"^[A-Za-z0-9._~-]{1,64}$"

Id = Annotated[str, StringConstraints(pattern=ID_PATTERN, min_length=1, max_length=64)]
"""An identifier as every interface takes it: 1 to 64 unreserved URI characters."""


def ulids(clock: Clock, randomness: random.Random) -> NewId:
    """Return a source of ULIDs, drawn from the given clock and randomness (so that a seed repeats them)."""

    def new_id() -> str:
        return str(ULID(clock.now().to_bytes(6, "big") + randomness.randbytes(10)))

    return new_id
