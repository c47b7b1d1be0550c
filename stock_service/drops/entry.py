"""What a customer wants of a drop, and what may become of it."""

from dataclasses import dataclass
from typing import NamedTuple

from shared.errors import Refused
from shared.idempotency import Intent
from stock_service.drops.claims import Claim


class Want(NamedTuple):
    """A unit that is asked for. The claim's id is known before anybody is asked, so asking again is safe.

    intent: the request's idempotency key; again: the claim is there, was returned, and is to be issued after
    all; refusal: a gate's no, which the journal is only asked to remember under the key.
    """

    claim_id: str
    code: str
    customer_id: str
    intent: Intent | None = None
    traceparent: str | None = None
    again: bool = False
    refusal: Refused | None = None


@dataclass(frozen=True, slots=True)
class Entered:
    """It is journaled. repeated: by the same request before, and the claim is as it is now."""

    claim: Claim
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Declined:
    """It is not let in. counted: because by the journal's own count the drop is full, or the customer is."""

    error: Refused
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Stale:
    """The gate that let it in is no longer the one that counts; it has to be asked for again."""


Verdict = Entered | Declined
"""What became of a want."""
