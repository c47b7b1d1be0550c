"""An order never goes back, and its customer is told the truth."""

import itertools

import pytest

from order_service import domain
from order_service.domain import EDGES, FINAL, KEPT, LET_GO, Draft, Line, Status, merged, refusal_of
from shared.errors import Conflict, Refused


def reachable(status: Status) -> set[Status]:
    found: set[Status] = set()
    waiting = [status]
    while waiting:
        for target in EDGES[waiting.pop()] - found:
            found.add(target)
            waiting.append(target)
    return found


def test_every_status_has_its_edges() -> None:
    assert set(EDGES) == set(Status)


@pytest.mark.parametrize("status", Status)
def test_no_way_leads_back(status: Status) -> None:
    assert status not in reachable(status)


def test_a_decision_never_turns_into_the_other() -> None:
    for kept, let_go in itertools.product(KEPT, LET_GO):
        assert let_go not in reachable(kept)
        assert kept not in reachable(let_go)


def test_only_final_states_lead_nowhere_and_every_other_leads_to_one() -> None:
    for status in Status:
        assert (not EDGES[status]) == (status in FINAL)
        assert status in FINAL or reachable(status) & FINAL


def test_sources_are_the_edges_read_backwards() -> None:
    for target in Status:
        assert set(domain.sources(target)) == {status for status in Status if target in EDGES[status]}


def draft_of(*lines: Line, **changes: object) -> Draft:
    wish = {"customer_id": "guest", "lines": lines, "payment_amt": 5, "hold_seconds": None, **changes}
    return Draft(**wish)  # type: ignore[arg-type]


def test_equal_wishes_have_equal_hashes_however_they_are_sorted() -> None:
    one, two = Line("1", 2), Line("2", 1)
    assert draft_of(one, two).body_hash == draft_of(two, one).body_hash


@pytest.mark.parametrize(
    "changes",
    [
        {"customer_id": "other"},
        {"payment_amt": 6},
        {"hold_seconds": 600},
        {"lines": (Line("1", 3),)},
        {"lines": (Line("2", 2),)},
    ],
)
def test_another_wish_has_another_hash(changes: dict[str, object]) -> None:
    assert draft_of(Line("1", 2)).body_hash != draft_of(Line("1", 2), **changes).body_hash


def test_a_hash_can_not_be_forged_by_moving_text_between_fields() -> None:
    assert (
        draft_of(Line("1", 2), customer_id="a").body_hash != draft_of(Line("a", 2), customer_id="1").body_hash
    )


def test_quantities_of_one_product_are_added_up() -> None:
    assert merged([Line("b", 1), Line("a", 2), Line("b", 3)]) == (Line("b", 4), Line("a", 2))


def problem(slug: str, **members: object) -> dict[str, object]:
    return {"type": f"urn:handfast:problem:{slug}", "title": slug, "detail": "Told why.", **members}


@pytest.mark.parametrize(("slug", "status"), sorted(domain.REFUSALS.items()))
def test_a_declared_refusal_passes_through(slug: str, status: int) -> None:
    error = refusal_of(problem(slug, status=status, productId="2", available=3)).error("o-1")
    assert (error.slug, error.status, error.detail) == (slug, status, "Told why.")
    assert error.extra == {"productId": "2", "available": 3, "orderId": "o-1", "reason": slug}


@pytest.mark.parametrize("slug", ["invalid-request", "transaction-expired", "", "reservation-expired"])
def test_any_other_refusal_is_an_order_cancelled_with_its_reason(slug: str) -> None:
    refusal = refusal_of(problem(slug, status=422))
    assert (refusal.slug, refusal.status) == ("order-cancelled", 409)
    assert refusal.reason == (slug or domain.UNKNOWN_REASON)


def test_a_participants_document_can_not_flood_the_answer() -> None:
    members = {f"m{number}": "x" * 10_000 for number in range(50)} | {f"n{number}": 1 for number in range(50)}
    refusal = refusal_of({**problem("unknown-product"), "detail": "y" * 10_000, **members})
    assert len(refusal.detail) == domain.MAX_DETAIL
    assert len(refusal.members) == domain.MAX_MEMBERS
    assert set(refusal.members.values()) == {1}


def test_a_hold_that_ran_out_says_so() -> None:
    assert domain.cancel_reason(domain.TRANSACTION_EXPIRED, held=True) == domain.RESERVATION_EXPIRED
    assert domain.cancel_reason(domain.TRANSACTION_EXPIRED, held=False) == domain.TRANSACTION_EXPIRED
    assert domain.cancel_reason(None, held=False) == domain.UNKNOWN_REASON


def test_a_refused_payment_is_a_402_whatever_the_payment_calls_it() -> None:
    for slug in ("payment-declined", "invalid-request"):
        assert domain.payment_refusal(problem(slug)).status == 402


def test_an_unknown_or_foreign_order_is_not_drafted() -> None:
    for known in (None, ("other", Status.PENDING)):
        with pytest.raises(Refused) as raised:
            domain.draft("mine", known)
        assert raised.value.slug == "unknown-order"


@pytest.mark.parametrize("status", Status)
def test_only_a_cancelled_order_is_not_drafted(status: Status) -> None:
    if status is Status.CANCELLED:
        with pytest.raises(Refused):
            domain.draft("mine", ("mine", status))
    else:
        domain.draft("mine", ("mine", status))


@pytest.mark.parametrize("status", Status)
def test_placing_what_was_let_go_is_a_conflict(status: Status) -> None:
    if status in LET_GO:
        with pytest.raises(Conflict):
            domain.place(status)
    else:
        assert domain.place(status) is (status is not Status.CONFIRMED)


@pytest.mark.parametrize("status", Status)
def test_discarding_what_is_kept_is_a_conflict(status: Status) -> None:
    if status in KEPT:
        with pytest.raises(Conflict):
            domain.discard(status)
    else:
        assert domain.discard(status) is (status is not Status.CANCELLED)


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (Status.PENDING, None, ("order-not-held", 409)),
        (Status.HELD, None, True),
        (Status.CONFIRMING, None, False),
        (Status.CONFIRMED, None, False),
        (Status.CANCELLING, "insufficient-stock", ("order-cancelled", 409)),
        (Status.CANCELLED, domain.CUSTOMER_CANCELLED, ("order-cancelled", 409)),
        (Status.CANCELLED, domain.RESERVATION_EXPIRED, ("reservation-expired", 410)),
    ],
)
def test_paying(status: Status, reason: str | None, expected: object) -> None:
    try:
        answer: object = domain.paying("o-1", status, reason)
    except Refused as error:
        answer = (error.slug, error.status)
    assert answer == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.PENDING, ("order-not-held", 409)),
        (Status.HELD, True),
        (Status.CONFIRMING, ("order-confirmed", 409)),
        (Status.CONFIRMED, ("order-confirmed", 409)),
        (Status.CANCELLING, False),
        (Status.CANCELLED, False),
    ],
)
def test_calling_off(status: Status, expected: object) -> None:
    try:
        answer: object = domain.calling_off("o-1", status)
    except Refused as error:
        answer = (error.slug, error.status)
    assert answer == expected
