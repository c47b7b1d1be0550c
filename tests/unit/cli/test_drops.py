"""`handfast drops`: what is sent, what is shown, and how it ends."""

from typing import Any

import pytest

from cli.bench.load import customer_of
from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_stack import Asked, FakeStack, Reply, problem

DROP = {
    "code": "launch",
    "quantity": 10,
    "perCustomer": 1,
    "opensAt": None,
    "closesAt": None,
    "issued": 4,
    "pending": 1,
    "remaining": 5,
    "createdAt": "2026-11-21T09:30:00.000Z",
    "updatedAt": "2026-11-21T09:30:01.000Z",
}


def claim(number: int, state: str = "RETURNED", code: str = "launch") -> dict[str, Any]:
    return {
        "claimId": f"k-{number}",
        "code": code,
        "customerId": f"c-{number}",
        "state": state,
        "createdAt": "2026-11-21T09:30:00.000Z",
        "updatedAt": "2026-11-21T09:30:01.000Z",
    }


def test_put_sends_what_was_said(run: Run, fake: FakeStack) -> None:
    fake.answers["PUT stock/drops/launch"] = (201, DROP)
    ended = run(
        *("drops", "put", "launch", "--quantity", "10", "--per-customer", "2"),
        *("--opens-at", "2026-11-21T09:30:00Z", "--closes-at", "none"),
    )
    assert ended.code == 0
    assert fake.asked[0].body == {
        "quantity": 10,
        "perCustomer": 2,
        "opensAt": "2026-11-21T09:30:00Z",
        "closesAt": None,
    }
    assert "remaining    5" in ended.out


def test_put_leaves_out_what_was_not_said(run: Run, fake: FakeStack) -> None:
    fake.answers["PUT stock/drops/launch"] = (200, DROP)
    assert run("drops", "put", "launch", "-q", "10", "--json").json() == DROP
    assert fake.asked[0].body == {"quantity": 10}


def test_drops_and_claims_are_listed(run: Run, fake: FakeStack) -> None:
    fake.answers["GET stock/drops"] = (200, {"items": [DROP], "nextCursor": None})
    assert run("drops", "list").out == "launch\t10\t4\t1\t5\t1\t\t\n"
    page = {"items": [claim(1, "ISSUED")], "nextCursor": None}
    fake.answers["GET stock/drops/launch/claims"] = (200, page)
    listed = run("drops", "list", "launch", "--state", "issued", "--json")
    assert listed.json() == {"items": [claim(1, "ISSUED")]}
    assert fake.asked[-1].query["state"] == "ISSUED"
    assert run("drops", "list", "--state", "issued").code == 2
    assert run("drops", "list", "nothing").code == 3


def test_a_claim_is_shown_and_a_refusal_told(run: Run, fake: FakeStack) -> None:
    fake.answers["POST stock/drops/launch/claims"] = (202, claim(1, "PENDING"))
    ended = run("drops", "claim", "launch", "-c", "c-1", "--idempotency-key", "k", "--wait", "5")
    assert (ended.code, fake.asked[0].body) == (0, {"customerId": "c-1"})
    assert fake.asked[0].headers["idempotency-key"] == "k"
    assert fake.asked[0].headers["prefer"] == "wait=5"
    fake.answers["POST stock/drops/launch/claims"] = (409, problem("sold-out", 409, "All is gone."))
    refused = run("drops", "claim", "launch", "-c", "c-1")
    assert refused.code == 1
    assert "sold-out: All is gone." in refused.err
    fake.answers["POST stock/drops/launch/claims"] = (503, problem("gate-unavailable", 503, "Not now."))
    assert run("drops", "claim", "launch", "-c", "c-1").code == 4
    fake.answers["POST stock/drops/launch/claims"] = (200, {**claim(1), "reason": "dead-lettered"})
    assert run("drops", "claim", "launch", "-c", "c-1").code == 1
    fake.answers["GET stock/drops/launch/claims/c-1"] = (200, claim(1, "ISSUED"))
    assert run("drops", "show", "launch", "--customer", "c-1", "--json").json() == claim(1, "ISSUED")


def returning(fake: FakeStack, code: str, numbers: range) -> None:
    page = {"items": [claim(number, code=code) for number in numbers], "nextCursor": None}
    fake.answers[f"GET stock/drops/{code}/claims"] = (200, page)


def test_returned_claims_are_issued_again_in_batches_and_each_for_itself(run: Run, fake: FakeStack) -> None:
    returning(fake, "launch", range(250))
    sizes = []

    def reissue(asked: Asked) -> Reply:
        ids = asked.body["claimIds"]
        sizes.append(len(ids))
        if "k-100" in ids:
            return 503, problem("try-again", 503, "Not now.")
        sold_out = {"result": "sold-out", "detail": "All is gone."}
        return 200, {
            "items": [
                {"claimId": one, **(sold_out if one == "k-7" else {"result": "reissued"})} for one in ids
            ]
        }

    fake.answers["POST stock/drops/launch/reissues"] = reissue
    ended = run("drops", "reissue", "launch", "--json")
    assert ended.code == 1
    assert "101 of 250 claims are not issued again" in ended.err
    told = ended.json()
    assert told["counts"] == {"reissued": 149, "sold-out": 1, "failed": 100}
    assert [one["claimId"] for one in told["items"]] == [f"k-{number}" for number in range(250)]
    assert sizes == [100, 100, 50]
    assert "reissued: 250 of 250" in ended.err


def test_all_drops_are_gone_through_and_what_was_done_meanwhile_is_no_failure(
    run: Run, fake: FakeStack
) -> None:
    fake.answers["GET stock/drops"] = (200, {"items": [DROP, {**DROP, "code": "b"}], "nextCursor": None})
    for code in ("launch", "b"):
        returning(fake, code, range(2))
        results = [
            {"claimId": "k-0", "result": "reissued"},
            {"claimId": "k-1", "result": "claim-not-returned"},
        ]
        fake.answers[f"POST stock/drops/{code}/reissues"] = (200, {"items": results})
    ended = run("drops", "reissue", "--all")
    assert ended.code == 0
    assert "2 reissued, 2 claim-not-returned" in ended.out
    assert fake.requests("POST") == ["POST stock/drops/launch/reissues", "POST stock/drops/b/reissues"]


def test_where_nothing_was_returned_there_is_nothing_to_reissue(run: Run, fake: FakeStack) -> None:
    returning(fake, "launch", range(0))
    assert run("drops", "reissue", "launch").code == 3


@pytest.mark.parametrize("arguments", [(), ("launch", "--all")])
def test_reissue_wants_to_know_of_which_drop(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("drops", "reissue", *arguments).code == 2


def test_in_the_bench_every_customer_claims() -> None:
    crowd = [customer_of(number, 50_000, 30_000) for number in range(50_000)]
    assert set(crowd) == set(range(30_000))
    assert max(crowd.count(customer) for customer in (0, 1, 19_999)) == 2
    assert len(set(crowd[:100])) == 100
