"""`handfast reconcile`: what it shows, and what its exit code says."""

from typing import Any

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_stack import Asked, FakeStack, problem

POST = "POST coordinator/reconciliations"
GET = "GET coordinator/reconciliations/r"
FINDINGS = "GET coordinator/reconciliations/r/findings"

FOUND = {
    "findingId": "f",
    "participant": "stock",
    "kind": "confirmed-still-held",
    "subject": "branch b",
    "transactionId": "t",
    "branchId": "b",
    "verdict": "repairable",
    "evidence": {},
    "repair": "published",
    "repaired": True,
    "foundAt": "2026-11-21T09:30:00Z",
}


def a_run(state: str = "DONE", *, found: int = 0, repaired: int = 0, **more: Any) -> dict[str, Any]:
    count = {
        "participant": "stock",
        "kind": "confirmed-still-held",
        "verdict": "repairable",
        "found": found,
        "repaired": repaired,
    }
    return {
        "reconciliationId": "r",
        "state": state,
        "dryRun": False,
        "phase": "ended",
        "total": 10,
        "read": 10,
        "found": found,
        "repaired": repaired,
        "counts": [count] if found else [],
        "problems": [],
        "uncompared": {},
        "startedAt": "2026-11-21T09:30:00Z",
        **more,
    }


def answer(fake: FakeStack, run: dict[str, Any], *findings: dict[str, Any]) -> None:
    fake.answers[POST] = (202, a_run("RUNNING"))
    fake.answers[GET] = (200, run)
    fake.answers[FINDINGS] = (200, {"items": list(findings), "nextCursor": None})


def test_all_is_well(fake: FakeStack, run: Run) -> None:
    answer(fake, a_run())
    ended = run("reconcile")
    assert ended.code == 0
    assert "10 rows compared, 0 findings" in ended.out
    assert fake.asked[0].body == {"dryRun": False}


def test_what_was_repaired_is_shown_and_is_success(fake: FakeStack, run: Run) -> None:
    answer(fake, a_run(found=1, repaired=1), FOUND)
    ended = run("reconcile")
    assert ended.code == 0
    assert "stock\tconfirmed-still-held\trepairable\t1\t1" in ended.out


def test_what_is_left_is_shown_and_is_no_success(fake: FakeStack, run: Run) -> None:
    answer(fake, a_run(found=1), FOUND | {"repaired": False})
    ended = run("reconcile")
    assert ended.code == 1
    assert "stock\tconfirmed-still-held\tbranch b\tt\tpublished" in ended.out
    assert "1 of 1 findings are left" in ended.err


def test_a_dry_run_says_what_would_be_repaired(fake: FakeStack, run: Run) -> None:
    answer(fake, a_run(found=1, dryRun=True), FOUND | {"repaired": False})
    ended = run("reconcile", "--dry-run")
    assert ended.code == 1
    assert "1 would be repaired" in ended.out
    assert fake.asked[0].body == {"dryRun": True}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"problems": [{"participant": "stock", "phase": "audits", "detail": "it is away"}]}, "it is away"),
        ({"state": "FAILED"}, "FAILED"),
        ({"state": "INTERRUPTED"}, "INTERRUPTED"),
    ],
)
def test_a_run_that_failed_in_part_is_no_success(
    fake: FakeStack, run: Run, more: dict[str, Any], said: str
) -> None:
    answer(fake, a_run() | more)
    ended = run("reconcile")
    assert ended.code == 1
    assert said in ended.out + ended.err


def test_what_can_not_be_compared_is_said(fake: FakeStack, run: Run) -> None:
    answer(fake, a_run(uncompared={"seats": 7}))
    ended = run("reconcile")
    assert ended.code == 0
    assert "7 branches of seats can't be compared" in ended.out


def test_json_is_the_run_with_its_findings(fake: FakeStack, run: Run) -> None:
    answer(fake, a_run(found=1, repaired=1), FOUND)
    assert run("reconcile", "--json").json() == a_run(found=1, repaired=1) | {"findings": [FOUND]}


def test_a_run_of_another_sort_is_waited_for(fake: FakeStack, run: Run) -> None:
    answer(fake, a_run())
    refusals = [409, 409]

    def begin(_: Asked) -> tuple[int, Any]:
        if refusals:
            return refusals.pop(), problem("reconciliation-running", 409, "ask again")
        return 202, a_run("RUNNING")

    fake.answers[POST] = begin
    fake.answers["GET coordinator/reconciliations"] = (200, {"items": [a_run("RUNNING")], "nextCursor": None})
    assert run("reconcile").code == 0
    assert fake.requests("POST") == [POST] * 3


def test_a_coordinator_that_is_away_is_out_of_reach(run: Run) -> None:
    assert run("reconcile", "--port-offset", "49000").code == 4
