"""What operators do has a reason, and is on record before it is done."""

from typing import Any

from tests.integration.hostile.programs import Programs
from tests.integration.security.bearers import customer, operator

OLGA = operator("olga")


def record(programs: Programs, program: str, query: str = "") -> list[dict[str, Any]]:
    answer = programs.send("GET", program, f"/audit{query}", headers=operator("auditor"))
    assert answer.status == 200, answer
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def test_an_act_without_a_reason_is_refused(programs: Programs) -> None:
    for program, path, body in (
        ("coordinator", "/transactions/t/retries", None),
        ("coordinator", "/transactions/t/retries", {}),
        ("coordinator", "/reconciliations", {"dryRun": True}),
        ("stock", "/dead-letters/l/replays", None),
        ("stock", "/dead-letters/l/replays", {"who": "somebody else"}),
        ("stock", "/dead-letters/replays", {"letterIds": ["l"]}),
        ("stock", "/dead-letters/l/parkings", None),
        ("stock", "/dead-letters/l/releases", None),
        ("stock", "/dead-letters/l/edits", {"value": "v"}),
        ("stock", "/dead-letters/purges", {}),
        ("stock", "/drops/d/reissues", {"claimIds": ["c"]}),
    ):
        answer = programs.send("POST", program, path, body, OLGA)
        assert answer.told == (422, "reason-required"), (path, body, answer)
    assert not any(one["act"] == "retry" for one in record(programs, "coordinator"))


def test_an_act_is_on_record_with_how_it_ended(programs: Programs) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {**OLGA, "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    done = programs.send("PUT", "stock", "/products/recorded", {"onHand": 5}, headers)
    assert done.status == 201
    refused = programs.send(
        "POST", "stock", "/products/recorded/adjustments", {"delta": -9, "reason": "broken"}, headers
    )
    assert refused.status == 409
    adjusted, changed = record(programs, "stock", "?who=olga&limit=2")
    assert changed["target"] == "/products/recorded"
    assert (changed["who"], changed["role"], changed["act"]) == ("olga", "operator", "change-product")
    assert (changed["outcome"], changed["status"], changed["traceId"]) == ("done", 201, trace)
    assert changed["at"] <= changed["endedAt"]
    assert (adjusted["act"], adjusted["reason"], adjusted["outcome"]) == ("adjust-stock", "broken", "refused")
    assert (adjusted["status"], adjusted["problem"]) == (409, refused.slug)


def test_an_act_on_what_is_not_there_is_on_record(programs: Programs) -> None:
    body = {"reason": "stuck since noon"}
    answer = programs.send("POST", "coordinator", "/transactions/none/retries", body, OLGA)
    assert answer.told == (404, "unknown-transaction")
    (act,) = record(programs, "coordinator", "?act=retry")
    assert (act["target"], act["reason"], act["outcome"]) == (
        "/transactions/none/retries",
        "stuck since noon",
        "refused",
    )


def test_what_a_customer_does_is_no_act(programs: Programs) -> None:
    body = {"productId": "recorded", "qty": 1}
    assert programs.send("POST", "stock", "/stocks", body, customer("ann")).status == 201
    assert not [one for one in record(programs, "stock") if one["who"] == "ann"]


def test_the_record_is_read_in_pages_and_by_filter(programs: Programs) -> None:
    for number in range(3):
        path = f"/accounts/paged-{number}"
        assert programs.send("PUT", "payment", path, {"balance": 1}, operator("petra")).status == 201
    first = programs.send("GET", "payment", "/audit?who=petra&limit=2", headers=OLGA).json()
    rest = programs.send(
        "GET", "payment", f"/audit?who=petra&cursor={first['nextCursor']}", headers=OLGA
    ).json()
    targets = [one["target"] for one in (*first["items"], *rest["items"])]
    assert targets == ["/accounts/paged-2", "/accounts/paged-1", "/accounts/paged-0"]
    assert rest["nextCursor"] is None
    middle = first["items"][1]["at"]
    assert len(record(programs, "payment", f"?who=petra&since={middle}")) >= 2
    assert record(programs, "payment", "?until=2000-01-01T00:00:00Z") == []
    assert programs.send("GET", "payment", "/audit?since=noon", headers=OLGA).status == 422
    assert programs.send("GET", "payment", "/audit?cursor=x", headers=OLGA).status == 422
