"""What is said to a command that is declined, and how a refusal is kept with its fence."""

import pydantic_core

from shared.clock import Millis
from shared.errors import Conflict, NotFound, Refused, Transient
from shared.tcc.fence import Fence
from shared.tcc.protocol import Phase, State


def unknown(branch_id: str) -> NotFound:
    """Return what is answered about a branch that has no fence row."""
    return NotFound(f"Reservation {branch_id} is unknown here.")


def contradiction(held: Fence, phase: Phase) -> Refused:
    """Return what is answered to a Confirm of a cancelled, or a Cancel of a confirmed branch."""
    if phase is Phase.CONFIRM:
        return Conflict(
            "reservation-cancelled", f"Reservation {held.id} is cancelled; it can't be confirmed any more."
        )
    detail = f"Reservation {held.id} is {held.state.lower()}; it can't be cancelled any more."
    slug = f"reservation-{held.state.lower()}"
    if held.transaction_id is None:
        # Its owner changed his mind too late, which breaks no protocol.
        return Refused(slug, detail)
    return Conflict(slug, detail)


def check_owner(held: Fence, transaction_id: str | None) -> None:
    """Raise unless the branch belongs to that transaction (None: to nobody but itself)."""
    if held.transaction_id == transaction_id:
        return
    if transaction_id is None:
        raise Refused(
            "owned-by-transaction",
            f"Reservation {held.id} belongs to a transaction; only its coordinator decides about it. "
            "Name the transaction in TCC-Transaction-Id.",
        )
    raise Conflict("branch-id-reused", f"Branch {held.id} belongs to another transaction.")


class Pending(Transient):
    """The Confirm is durably taken: the sweeper has its external effect carried out if nobody else does."""


def under_way(held: Fence) -> Transient:
    """Return what is answered while a branch's external effect is under way."""
    kind = Pending if held.state is State.CONFIRMING else Transient
    return kind(
        f"Reservation {held.id} is {held.state.lower()}: ask again.", "effect-under-way", 425, retry_after=1
    )


def outcome_unknown(held: Fence) -> Transient:
    """Return what is answered where a branch's external effect may have happened or not."""
    kind = Pending if held.state is State.CONFIRMING else Transient
    return kind(
        f"The external effect of reservation {held.id} has an unknown outcome; it will be looked up.",
        "effect-unknown",
    )


def effect_missing(held: Fence) -> Transient:
    """Return what is answered about an external effect for which this program isn't set up (any more)."""
    return Transient(
        f"Reservation {held.id} is {held.state.lower()} with an external effect, and this service is set up "
        "without one. Start it with the settings with which the reservation was made.",
        "effect-missing",
    )


def encode_refusal(refusal: Refused) -> str:
    """Write a refusal as JSON, to be kept with the fence."""
    problem = {
        "slug": refusal.slug,
        "detail": refusal.detail,
        "status": refusal.status,
        "extra": refusal.extra,
    }
    return pydantic_core.to_json(problem).decode()


def refusal_of(held: Fence) -> Refused:
    """Return the refusal with which a Try of this cancelled branch is answered."""
    if held.refusal is not None:
        problem = pydantic_core.from_json(held.refusal)
        return Refused(problem["slug"], problem["detail"], problem["status"], **problem["extra"])
    if held.claim is None:
        return Refused("cancelled-before-try", f"Branch {held.id} was cancelled before it was tried.")
    return Refused("reservation-cancelled", f"Reservation {held.id} was cancelled; it can't be held again.")


def check_expiry(held: Fence, now: Millis) -> None:
    """Raise where a standalone reservation has expired, swept or not."""
    if held.expires_at is not None and now >= held.expires_at:
        raise Refused(
            "reservation-expired", f"Reservation {held.id} has expired; make a new one.", status=410
        )


def gone(held: Fence) -> Refused:
    """Return what is answered to a Confirm of a standalone reservation that was let go."""
    slug = "reservation-expired" if held.reason == "expired" else "reservation-cancelled"
    return Refused(slug, f"Reservation {held.id} is no longer held; make a new one.", status=410)
