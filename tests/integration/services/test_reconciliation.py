"""A reconciliation amid what goes wrong: what is away or broken stops nothing else, and none runs twice."""

import asyncio
from typing import Any

import httpx

from shared.errors import Unreachable
from shared.http.caller import Reply
from shared.settings import PORTS
from tests.integration.services.test_audits import audited, rows, tamper
from tests.simulation.conditions import Fault, Window
from tests.simulation.world import GRACE_SECONDS, World

LEASE = 30
BEAT = 5
LOCKED = Window(Fault.LOCKED, "coordinator", "", 1.0)


async def reconcile(one: World, *, dry_run: bool = False) -> dict[str, Any]:
    """Run a reconciliation to its end; return it with its findings."""
    reply = await one.call("POST", "coordinator", "/reconciliations", {"dryRun": dry_run}, prefer="wait=30")
    assert reply.status == 202, reply
    path = f"/reconciliations/{reply.json()['reconciliationId']}"
    assert reply.headers["location"] == f"/api/v1{path}"
    run: dict[str, Any] = reply.json()
    while run["state"] == "RUNNING":
        run = (await one.call("GET", "coordinator", path, prefer="wait=30")).json()
    return {**run, "findings": (await one.read("coordinator", f"{path}/findings"))["items"]}


def roll_back(one: World) -> str:
    """Have the stock service forget a Confirm, as one restored from a backup does; return the branch."""
    [(branch_id,)] = rows(one, "stock", "SELECT id FROM reservation WHERE state = 'CONFIRMED'")
    tamper(
        one,
        "stock",
        "UPDATE reservation SET state = 'TRIED', due_at = NULL WHERE state = 'CONFIRMED'",
        "UPDATE product SET on_hand = 10, held = 4, sold = 0 WHERE product_id = 'p'",
        "UPDATE purchase SET held = 4, sold = 0 WHERE product_id = 'p'",
    )
    return str(branch_id)


def test_a_participant_from_a_backup_is_brought_up_to_what_was_decided() -> None:
    async def story(one: World) -> None:
        branch_id = roll_back(one)
        assert (await reconcile(one))["found"] == 0, "what has only just ended is late"
        await asyncio.sleep(GRACE_SECONDS + 1)
        dry = await reconcile(one, dry_run=True)
        assert [(found["kind"], found["branchId"], found["repaired"]) for found in dry["findings"]] == [
            ("confirmed-still-held", branch_id, False)
        ]
        assert (await one.read("stock", f"/stocks/{branch_id}"))["state"] == "TRIED"
        run = await reconcile(one)
        [found] = run["findings"]
        assert (found["repair"], found["repaired"], run["repaired"]) == ("published", True, 1)
        product = await one.read("stock", "/products/p")
        assert (product["onHand"], product["held"], product["sold"]) == (8, 2, 2)
        events = await one.read("coordinator", f"/transactions/{found['transactionId']}/events")
        assert events["items"][-1]["event"] == "reconciled"
        assert (await reconcile(one))["found"] == 0

    audited(story)


def test_a_participant_that_is_away_is_said_and_stops_nobody_else() -> None:
    async def story(one: World) -> None:
        roll_back(one)
        tamper(one, "payment", "UPDATE account SET held = 1 WHERE customer_id = 'd'")
        await one.crash("order")
        await asyncio.sleep(GRACE_SECONDS + 1)
        run = await reconcile(one)
        assert run["state"] == "DONE"
        assert {problem["participant"] for problem in run["problems"]} == {"order"}
        assert {found["kind"] for found in run["findings"]} == {"confirmed-still-held", "counter-differs"}
        assert run["repaired"] == run["found"] == 2

    audited(story)


def test_a_counter_is_written_down_before_it_is_counted_again() -> None:
    """The answer to the recount is lost: what was wrong is told all the same, and that it is right since."""

    async def story(one: World) -> None:
        tamper(one, "payment", "UPDATE account SET held = 1 WHERE customer_id = 'd'")
        call = one.network.call
        lost: list[httpx.Request] = []

        async def losing(source: str, request: httpx.Request, seconds: float) -> Reply:
            reply = await call(source, request, seconds)
            if (
                not lost
                and "repair=true" in request.url.query.decode()
                and request.url.port == PORTS["payment"]
            ):
                lost.append(request)
                raise Unreachable("the answer got lost")
            return reply

        one.network.call = losing  # type: ignore[method-assign]
        run = await reconcile(one)
        assert len(lost) == 1
        [found] = run["findings"]
        assert (found["kind"], found["repair"], found["repaired"]) == ("counter-differs", "recounted", True)
        assert (run["found"], run["repaired"], run["problems"]) == (1, 1, [])
        assert (await reconcile(one))["found"] == 0

    audited(story)


def test_what_no_inquiry_can_answer_is_left_to_a_person() -> None:
    async def story(one: World) -> None:
        tamper(
            one,
            "coordinator",
            "UPDATE tcc_transaction SET state = 'CANCELLED', branches = replace(branches, 'CONFIRMED',"
            " 'CANCELLED') WHERE state = 'CONFIRMED'",
        )
        await asyncio.sleep(GRACE_SECONDS + 1)
        run = await reconcile(one)
        assert {(found["kind"], found["verdict"], found["repaired"]) for found in run["findings"]} == {
            ("contradicting-outcome", "person", False)
        }
        assert len(run["findings"]) == 3
        assert (await one.read("stock", "/products/p"))["sold"] == 2
        assert [one["state"] for one in (await one.read("stock", "/stocks"))["items"]].count("CONFIRMED") == 1

    audited(story)


def test_a_run_that_a_crash_cut_short_is_marked_and_the_next_begins_anew() -> None:
    async def story(one: World) -> None:
        roll_back(one)
        await asyncio.sleep(GRACE_SECONDS + 1)
        cut = await one.call("POST", "coordinator", "/reconciliations", {})
        await one.crash("coordinator")
        await one.start("coordinator")
        again = await one.call("POST", "coordinator", "/reconciliations", {"dryRun": True})
        assert (again.status, again.json()["type"]) == (409, "urn:handfast:problem:reconciliation-running")
        await asyncio.sleep(LEASE + 1)
        run = await reconcile(one)
        assert run["repaired"] == run["found"] == 1
        path = f"/reconciliations/{cut.json()['reconciliationId']}"
        assert (await one.read("coordinator", path))["state"] == "INTERRUPTED"

    audited(story)


def test_a_run_that_was_only_paused_stops_once_another_has_begun() -> None:
    async def story(one: World) -> None:
        roll_back(one)
        await asyncio.sleep(GRACE_SECONDS + 1)
        await one.call("POST", "coordinator", "/reconciliations", {})
        await one.pause("coordinator", LEASE + 10)
        await asyncio.sleep(10)
        run = await reconcile(one)
        assert run["state"] == "DONE"
        states = [listed["state"] for listed in (await one.read("coordinator", "/reconciliations"))["items"]]
        assert states.count("RUNNING") == 0
        assert (await reconcile(one, dry_run=True))["found"] == 0

    audited(story)


def test_a_run_whose_database_went_away_is_told_to_have_failed_once_it_is_back() -> None:
    async def story(one: World) -> None:
        begun = await one.call("POST", "coordinator", "/reconciliations", {})
        one.conditions.windows.append(LOCKED)
        await asyncio.sleep(BEAT + 1)
        one.conditions.windows.remove(LOCKED)
        await asyncio.sleep(BEAT + 1)
        run = await one.read("coordinator", f"/reconciliations/{begun.json()['reconciliationId']}")
        assert run["state"] == "FAILED"
        assert [problem["detail"] for problem in run["problems"]] == ["database is locked"]
        assert (await reconcile(one))["state"] == "DONE"

    audited(story)


def test_a_coordinator_stops_in_the_middle_of_a_run_though_its_database_is_away() -> None:
    async def story(one: World) -> None:
        one.conditions.windows.append(Window(Fault.SLOW, "stock", "", 1.0))
        await one.call("POST", "coordinator", "/reconciliations", {})
        one.conditions.windows.append(LOCKED)
        async with asyncio.timeout(BEAT):
            await one.stop("coordinator")

    audited(story)


def test_a_run_joins_one_of_its_own_sort() -> None:
    async def story(one: World) -> None:
        first = await one.call("POST", "coordinator", "/reconciliations", {})
        second = await one.call("POST", "coordinator", "/reconciliations", {})
        assert first.json()["reconciliationId"] == second.json()["reconciliationId"]

    audited(story)


def test_it_runs_by_itself_every_five_minutes() -> None:
    async def story(one: World) -> None:
        roll_back(one)
        await asyncio.sleep(610)
        listed = (await one.read("coordinator", "/reconciliations"))["items"]
        assert [(run["state"], run["dryRun"]) for run in listed] == [("DONE", False)] * 2
        assert sorted(run["repaired"] for run in listed) == [0, 1]

    audited(story)


def test_an_unknown_run_is_not_found() -> None:
    async def story(one: World) -> None:
        for path in ("/reconciliations/none", "/reconciliations/none/findings"):
            reply = await one.call("GET", "coordinator", path)
            assert (reply.status, reply.json()["type"]) == (
                404,
                "urn:handfast:problem:unknown-reconciliation",
            )

    audited(story)
