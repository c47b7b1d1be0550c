"""What the kit must say of each broken participant: the case that is about it, in which words, and what else.

Others fail too where one lack breaks several promises; which ones is written down, so that none is by chance.
"""

from dataclasses import dataclass
from typing import Final

from tests.integration.conformance.lacks import Lack


@dataclass(frozen=True, slots=True)
class Expected:
    """case: the one that is about the lack; seen: a part of what it says; also: others that have to fail."""

    case: str
    seen: str
    also: frozenset[str] = frozenset()


def _of(case: str, seen: str, *also: str) -> Expected:
    return Expected(case, seen, frozenset(also))


ANSWERS: Final = {
    Lack.ID_OF_THE_BRANCH: _of("try-holds", "id has to be the branch id, saw 'r-1'"),
    Lack.URI: _of("try-holds", "uri has to end in the branch id"),
    Lack.EXPIRES: _of("try-holds", "expires has to be an ISO 8601 instant with a zone, saw None"),
    Lack.EFFECT: _of("try-holds", "Try and Confirm: the watched document shows no effect"),
    Lack.DEADLINE: _of("try-past-its-deadline", "expected 410, saw 201"),
    Lack.SKEW: _of("try-within-the-skew-allowance", "15 s late, of 30 s allowed: expected a 2xx"),
    Lack.REFUSAL: _of("try-refused", "stayed unknown for 1 s: 500", "refused-try-cancelled"),
    Lack.SAME_REFUSAL: _of("try-refused", "the same Try again: expected 409, saw 422"),
    Lack.CANCEL_OF_REFUSED: _of("refused-try-cancelled", "expected a 2xx (but 202), saw 404"),
    Lack.REPEAT_OF_TRY: _of(
        "try-repeated",
        "expected 201 as before, saw 409",
        "try-with-another-body",
        "try-in-another-transaction",
        "try-after-confirm",
        "decisions-of-another-transaction",
        "decisions-without-a-transaction",
    ),
    Lack.ONE_HOLD: _of("try-repeated", "the watched document changed (free: ", "try-after-confirm"),
    Lack.SAME_ANSWER: _of("try-repeated", "the same Try again: expires was ", "try-after-confirm"),
    Lack.TRY_AFTER_CONFIRM: _of("try-after-confirm", "expected 201 as before, saw 409"),
    Lack.REPEAT_OF_CONFIRM: _of(
        "confirm-repeated",
        "the same Confirm again: expected a 2xx (but 202), saw 404",
        "cancel-after-confirm",
    ),
    Lack.ONE_EFFECT: _of("confirm-repeated", "the watched document changed (kept: "),
    Lack.REPEAT_OF_CANCEL: _of(
        "cancel-repeated",
        "the same Cancel again: expected a 2xx (but 202), saw 404",
        "confirm-after-cancel",
        "cancel-before-try",
    ),
    Lack.RELEASE: _of("cancel-lets-go", "a Cancel: the watched document shows no effect"),
    Lack.ONE_RELEASE: _of("cancel-repeated", "the same Cancel again: the watched document changed (free: "),
    Lack.BODY_COMPARED: _of("try-with-another-body", "with another body: expected 409, saw 201"),
    Lack.TRANSACTION_COMPARED: _of(
        "try-in-another-transaction", "in another transaction: expected 409, saw 201", "refusals-say-why"
    ),
    Lack.APPLYING: _of(
        "confirm-repeated",
        "the answer to Confirm stayed unknown for 1 s: 202",
        "try-holds",
        "try-after-confirm",
        "cancel-after-confirm",
        "reading-tells-the-truth",
    ),
    Lack.READING: _of("reading-tells-the-truth", "has to be anything but CONFIRMED, saw 'CONFIRMED'"),
    Lack.UNKNOWN_NOT_FOUND: _of("confirm-of-the-unknown", "expected 404, saw 204"),
    Lack.CANCEL_OF_UNKNOWN: _of(
        "cancel-before-try",
        "a Cancel that comes before its Try: expected a 2xx (but 202), saw 404",
        "refusals-say-why",
    ),
    Lack.TOMBSTONE: _of(
        "cancel-before-try", "the Try that comes after its Cancel: expected 409, saw 201", "refusals-say-why"
    ),
    Lack.CANCELLED_FOR_GOOD: _of("try-after-cancel", "expected 409, saw 201"),
    Lack.CONFIRM_CONTRADICTED: _of("confirm-after-cancel", "expected 409, saw 204", "cancel-before-try"),
    Lack.CANCEL_CONTRADICTED: _of("cancel-after-confirm", "expected 409, saw 204"),
    Lack.CONFIRMED_FOR_GOOD: _of("cancel-after-confirm", "expected 409, saw 204"),
    Lack.OWNER: _of("decisions-of-another-transaction", "expected 409, saw 204"),
    Lack.OWNER_NAMED: _of("decisions-without-a-transaction", "expected a refusal"),
    Lack.HEADERS_CHECKED: _of("missing-headers", "a Try without TCC-Transaction-Id: expected a refusal"),
    Lack.IDS_CHECKED: _of("malformed-ids", "a Try whose TCC-Transaction-Id is a blank: expected a refusal"),
    Lack.DEADLINE_CHECKED: _of("malformed-deadlines", "is no instant: expected a refusal"),
    Lack.ZONE_CHECKED: _of("malformed-deadlines", "is an instant without a zone: expected a refusal"),
    Lack.BODY_CHECKED: _of("malformed-bodies", "saw 500"),
    Lack.PROBLEMS: _of("refusals-say-why", "has to be application/problem+json, saw text/plain"),
    Lack.SLUGS: _of("refusals-say-why", "type has to be urn:handfast:problem:cancelled-before-try"),
}
"""What shows in one answer after another."""

RACES: Final = {
    Lack.LOCK_ON_TRY: _of(
        "twenty-trys-at-once", "20 equal Trys at once: one alone moves free by -1, held by 1, "
    ),
    Lack.LOCK_ON_CONFIRM: _of(
        "twenty-confirms-at-once", "20 equal Confirms at once: one alone moves free by -1, "
    ),
    Lack.LOCK_ON_CANCEL: _of("try-and-cancel-at-once", "Trys that race their Cancel: the watched document"),
    Lack.LOCK_ON_DECISION: _of(
        "confirm-and-cancel-at-once", "a Confirm and a Cancel of one branch were both answered as done"
    ),
    Lack.ATOMIC_COUNTERS: _of(
        "branches-side-by-side", "8 branches that were held at once: one alone moves free by -1, held by 1, "
    ),
}
"""What shows only where requests meet; what else a race breaks is a matter of luck."""

EXPIRY: Final = {
    Lack.PATIENCE: _of(
        "expired-and-told-to-wait",
        "it was let go of before anybody had said so",
        "expired-and-told-to-confirm",
        "expired-and-coordinator-away",
        "confirmed-past-its-expiry",
    ),
    Lack.SWEEPER: _of(
        "expired-and-told-to-wait",
        "received 0 times within 3 s of its expiry, expected 2",
        "expired-and-told-to-confirm",
        "expired-and-coordinator-away",
        "confirmed-past-its-expiry",
    ),
    Lack.WAITING: _of(
        "expired-and-told-to-wait",
        "it was let go of before anybody had said so",
        "confirmed-past-its-expiry",
    ),
    Lack.CONFIRMING_WHEN_TOLD: _of("expired-and-told-to-confirm", "expected 409, saw 204"),
    Lack.CANCELLING_WHEN_TOLD: _of(
        "expired-and-told-to-wait",
        "still held 3 s past its expiry, although the coordinator says cancel",
        "expired-and-coordinator-away",
    ),
    Lack.HOLDING_ON: _of("expired-and-coordinator-away", "it was let go of before anybody had said so"),
    Lack.ASKING_AGAIN: _of(
        "expired-and-coordinator-away", "received 1 times within 3 s", "expired-and-told-to-wait"
    ),
    Lack.LATE_CONFIRM: _of("confirmed-past-its-expiry", "expected a 2xx (but 202), saw 410"),
    Lack.INQUIRY_NAMES_BRANCH: _of(
        "expired-and-told-to-wait",
        "the inquiry names branch 'another'",
        "expired-and-told-to-confirm",
        "expired-and-coordinator-away",
        "confirmed-past-its-expiry",
    ),
}
"""What shows past a deadline."""
