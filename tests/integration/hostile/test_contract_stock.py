"""Products and stock reservations, as the contract's table has them, on the whole system."""

from typing import Any, Final

import pytest

from tests.e2e.waiting import eventually
from tests.integration.hostile.programs import Programs
from tests.integration.hostile.seeds import instant
from tests.integration.hostile.wire import Answer

WAIT: Final = {"Prefer": "wait=20"}
PRODUCT: Final = ["productId", "name", "onHand", "held", "available", "sold", "purchaseLimit", "frozen"]


def product(programs: Programs, product_id: str, **fields: Any) -> Answer:
    return programs.send("PUT", "stock", f"/products/{product_id}", fields)


def shelf(programs: Programs, product_id: str) -> tuple[int, int, int]:
    """Return what is on hand, held and sold; what is available must be what the contract says."""
    shown = programs.read("stock", f"/products/{product_id}")
    assert shown["available"] == shown["onHand"] - shown["held"]
    return shown["onHand"], shown["held"], shown["sold"]


def reserve(programs: Programs, product_id: str, qty: int = 1, **more: Any) -> Answer:
    return programs.send("POST", "stock", "/stocks", {"productId": product_id, "qty": qty, **more})


def reserved(programs: Programs, product_id: str, qty: int = 1, **more: Any) -> str:
    made = reserve(programs, product_id, qty, **more)
    assert made.status == 201, made
    reservation_id: str = made.json()["id"]
    return reservation_id


def test_a_product_is_created_then_changed_and_what_is_left_out_stays(programs: Programs) -> None:
    created = product(programs, "new", name="New", onHand=10, purchaseLimit=3)
    assert created.status == 201
    assert sorted(created.json()) == sorted(PRODUCT)
    changed = product(programs, "new", onHand=20)
    assert changed.status == 200
    assert changed.json() == created.json() | {"onHand": 20, "available": 20}
    assert product(programs, "new", purchaseLimit=None).json()["purchaseLimit"] is None
    assert programs.send("PUT", "stock", "/products/new").json() == programs.read("stock", "/products/new")
    assert (
        programs.send("PUT", "stock", "/products/bare", headers={"Content-Type": "text/plain"}).status == 201
    )


def test_an_etag_guards_a_product_against_lost_changes(programs: Programs) -> None:
    first = product(programs, "etag", onHand=10).headers["etag"]
    assert programs.send("GET", "stock", "/products/etag").headers["etag"] == first
    changed = programs.send("PUT", "stock", "/products/etag", {"onHand": 11}, {"If-Match": first})
    assert changed.status == 200
    assert changed.headers["etag"] != first
    stale = programs.send("PUT", "stock", "/products/etag", {"onHand": 12}, {"If-Match": first})
    assert stale.told == (412, "precondition-failed")
    assert programs.send("PUT", "stock", "/products/absent", {}, {"If-Match": "*"}).status == 412
    assert shelf(programs, "etag") == (11, 0, 0)


def test_on_hand_never_falls_below_what_is_held(programs: Programs) -> None:
    product(programs, "below", onHand=5)
    reserved(programs, "below", 3)
    assert product(programs, "below", onHand=2).told == (409, "below-held")
    path = "/products/below/adjustments"
    lost = programs.send("POST", "stock", path, {"delta": -3, "reason": "lost"})
    assert lost.told == (409, "below-held")
    found = programs.send("POST", "stock", path, {"delta": -2, "reason": "lost"})
    assert (found.status, found.json()["onHand"]) == (201, 3)
    assert shelf(programs, "below") == (3, 3, 0)
    assert [one["delta"] for one in programs.read("stock", path)["items"]] == [5, -2]


def test_an_adjustment_with_a_key_is_recorded_once(programs: Programs) -> None:
    product(programs, "keyed", onHand=5)
    key = {"Idempotency-Key": "k"}
    path = "/products/keyed/adjustments"
    answers = [programs.send("POST", "stock", path, {"delta": 1, "reason": "r"}, key) for _ in range(2)]
    assert [one.status for one in answers] == [201, 200]
    assert answers[0].json() == answers[1].json()
    other = programs.send("POST", "stock", path, {"delta": 2, "reason": "r"}, key)
    assert other.told == (422, "idempotency-key-reused")
    assert shelf(programs, "keyed") == (6, 0, 0)


def test_a_reservation_is_made_shown_confirmed_and_confirmed_again(programs: Programs) -> None:
    product(programs, "sold", onHand=10)
    made = reserve(programs, "sold", 4, customerId="c", orderId="o")
    shown = made.json()
    assert (made.status, made.headers["location"]) == (201, shown["uri"])
    assert shown["uri"] == f"{programs.url('stock')}/api/v1/stocks/{shown['id']}"
    assert {"id", "uri", "state", "expires", "items"} <= set(shown)
    assert (shown["state"], shown["items"]) == ("TRIED", [{"productId": "sold", "qty": 4}])
    path = f"/stocks/{shown['id']}"
    assert programs.read("stock", path) == shown
    assert shelf(programs, "sold") == (10, 4, 0)
    confirmed = programs.send("PUT", "stock", path, headers=WAIT)
    assert (confirmed.status, confirmed.body) == (204, b"")
    assert shelf(programs, "sold") == (6, 0, 4)
    assert programs.send("PUT", "stock", path).status == 204
    assert programs.send("DELETE", "stock", path).told == (409, "reservation-confirmed")
    assert shelf(programs, "sold") == (6, 0, 4)


def test_a_confirm_is_accepted_and_travels_over_kafka(programs: Programs) -> None:
    product(programs, "travels", onHand=1)
    path = f"/stocks/{reserved(programs, 'travels')}"
    accepted = programs.send("PUT", "stock", path)
    assert (accepted.status, accepted.json()["state"]) == (202, "CONFIRMING")
    eventually(lambda: programs.read("stock", path)["state"] == "CONFIRMED", "the Confirm arrives")
    [record] = [one for one in programs.broker.records("stock-adjustment") if one.key == b"travels"]
    assert {name for name, _ in record.headers} >= {
        "ce_id",
        "ce_source",
        "ce_type",
        "ce_time",
        "ce_specversion",
    }


def test_a_cancelled_reservation_is_gone(programs: Programs) -> None:
    product(programs, "gone", onHand=5)
    path = f"/stocks/{reserved(programs, 'gone', 5)}"
    assert reserve(programs, "gone").told == (409, "insufficient-stock")
    for _ in range(2):
        assert programs.send("DELETE", "stock", path).told == (204, "")
    assert programs.send("PUT", "stock", path).told == (410, "reservation-cancelled")
    assert shelf(programs, "gone") == (5, 0, 0)


def test_an_expired_reservation_is_gone(programs: Programs) -> None:
    product(programs, "expires", onHand=1)
    path = f"/stocks/{reserved(programs, 'expires', seconds=1)}"
    eventually(lambda: programs.read("stock", path)["state"] == "CANCELLED", "it expires by itself")
    assert programs.send("PUT", "stock", path).told == (410, "reservation-expired")
    assert programs.send("DELETE", "stock", path).told == (204, "")
    assert shelf(programs, "expires") == (1, 0, 0)


def test_what_cannot_be_held_is_refused(programs: Programs) -> None:
    product(programs, "frosty", onHand=5, frozen=True)
    product(programs, "limited", onHand=50, purchaseLimit=3)
    assert reserve(programs, "frosty").told == (409, "product-frozen")
    assert reserve(programs, "unheard-of").told == (422, "unknown-product")
    reserved(programs, "limited", 2, customerId="l")
    sold = reserved(programs, "limited", 1, customerId="l")
    assert programs.send("PUT", "stock", f"/stocks/{sold}", headers=WAIT).status == 204
    assert reserve(programs, "limited", 1, customerId="l").told == (409, "purchase-limit-reached")
    assert reserve(programs, "limited", 4, customerId="m").told == (409, "purchase-limit-reached")
    both = [{"productId": "limited", "qty": 1}, {"productId": "unheard-of", "qty": 1}]
    assert programs.send("POST", "stock", "/stocks", {"items": both, "customerId": "n"}).status == 422
    assert shelf(programs, "limited") == (49, 2, 1)


def test_a_frozen_product_is_sold_once_it_is_thawed_and_can_be_let_go_at_once(programs: Programs) -> None:
    product(programs, "ice", onHand=5)
    headers = {"TCC-Transaction-Id": "t", "TCC-Branch-Id": "ice-1", "TCC-Deadline": instant()}
    body = {"productId": "ice", "qty": 1}
    assert programs.send("POST", "stock", "/stocks", body, headers).status == 201
    let_go = reserved(programs, "ice")
    product(programs, "ice", frozen=True)
    waiting = programs.send("PUT", "stock", "/stocks/ice-1", headers={"TCC-Transaction-Id": "t"})
    assert waiting.told == (503, "product-frozen")
    assert int(waiting.headers["retry-after"]) >= 1
    assert programs.send("DELETE", "stock", f"/stocks/{let_go}").status == 204
    product(programs, "ice", frozen=False)
    assert programs.send("PUT", "stock", "/stocks/ice-1", headers={"TCC-Transaction-Id": "t"}).status == 204
    assert shelf(programs, "ice") == (4, 0, 1)


def test_a_standalone_confirm_that_fails_becomes_a_letter_and_its_replay_settles_it(
    programs: Programs,
) -> None:
    product(programs, "stocktake", onHand=5)
    path = f"/stocks/{reserved(programs, 'stocktake')}"
    product(programs, "stocktake", frozen=True)
    assert programs.send("PUT", "stock", path).status == 202

    def letters() -> Any:
        found = programs.read("stock", "/dead-letters?topic=stock-adjustment&state=OPEN")["items"]
        return [one for one in found if path.endswith(one["branchId"] or "-")]

    [letter] = eventually(letters, "its dead letter")
    assert (letter["attempts"], letter["key"]) == (4, "stocktake")
    product(programs, "stocktake", frozen=False)
    replays = f"/dead-letters/{letter['letterId']}/replays"
    asked = programs.send("POST", "stock", replays, {"who": "me", "why": "thawed"})
    assert (asked.status, asked.json()["state"]) == (202, "REPLAYING")
    eventually(lambda: programs.read("stock", path)["state"] == "CONFIRMED", "the replay is applied")
    detailed = f"/dead-letters/{letter['letterId']}"
    eventually(lambda: programs.read("stock", detailed)["state"] == "SETTLED", "its letter is settled")
    assert [(one["who"], one["why"]) for one in programs.read("stock", detailed)["replayed"]] == [
        ("me", "thawed")
    ]
    skipped = programs.send("POST", "stock", replays)
    assert (skipped.status, skipped.json()["skipped"]) == (200, "settled")
    assert shelf(programs, "stocktake") == (4, 0, 1)


@pytest.mark.parametrize("state", ["TRIED", "CONFIRMING", "CONFIRMED", "CANCELLED"])
def test_reservations_are_listed_by_state(programs: Programs, state: str) -> None:
    product(programs, "states", onHand=100)
    reserved(programs, "states")
    programs.send("PUT", "stock", f"/stocks/{reserved(programs, 'states')}", headers=WAIT)
    programs.send("DELETE", "stock", f"/stocks/{reserved(programs, 'states')}")
    listed = programs.read("stock", f"/stocks?state={state}&limit=500")["items"]
    whole = programs.read("stock", "/stocks?limit=500")["items"]
    assert listed == [one for one in whole if one["state"] == state]
    assert listed or state == "CONFIRMING"
