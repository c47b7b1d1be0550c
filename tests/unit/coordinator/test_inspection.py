"""What a participant answers is believed only as far as it can be: it stops or misleads nobody else."""

import asyncio

import pydantic_core
import pytest

from coordinator.inspection import AT_ONCE, ATTEMPTS, Inspector
from coordinator.participants import Participant, Registration, Registry
from shared.errors import Unreachable
from shared.http.caller import Reply
from tests.simulation.loop import run_virtually
from tests.unit.coordinator.test_comparison import Scripted


def stock() -> Participant:
    [participant] = Registry([Registration(name="stock", url="http://stock.test", path="/api/v1/stocks")])
    return participant


async def test_a_list_that_goes_round_in_a_circle_is_given_up() -> None:
    circle = Reply(200, {}, b'{"items": [], "lag": 0, "nextCursor": "again"}')
    inspector = Inspector(Scripted(lambda *_: circle))
    assert (await inspector.page(stock(), None)).cursor == "again"
    with pytest.raises(Unreachable, match="same page"):
        await inspector.page(stock(), "again")


async def test_an_audit_that_goes_round_in_a_circle_is_given_up() -> None:
    circle = Reply(200, {}, b'{"items": [], "nextCursor": "again"}')
    with pytest.raises(Unreachable, match="same page"):
        await Inspector(Scripted(lambda *_: circle)).audit(stock(), "again", repair=False)


ROW = {"id": "b", "transactionId": "t", "state": "TRIED"}
FOUND = {"auditor": "a", "kind": "k", "subject": "s", "verdict": "person", "repaired": False}


@pytest.mark.parametrize("field", ["id", "transactionId"])
@pytest.mark.parametrize("value", ["x" * 65, "a\x00b"])
async def test_an_id_that_no_row_could_hold_is_no_usable_answer(field: str, value: str) -> None:
    body = pydantic_core.to_json({"items": [ROW | {field: value}], "lag": 0})
    with pytest.raises(Unreachable):
        await Inspector(Scripted(lambda *_: Reply(200, {}, body))).page(stock(), None)


@pytest.mark.parametrize(("field", "most"), [("kind", 64), ("subject", 300)])
async def test_what_an_audit_found_must_be_such_that_it_can_be_kept(field: str, most: int) -> None:
    for value, usable in (("x" * most, True), ("x" * (most + 1), False), ("a\x00b", False)):
        body = pydantic_core.to_json({"items": [FOUND | {field: value}]})
        asked = Inspector(Scripted(lambda *_, body=body: Reply(200, {}, body)))
        if usable:
            assert len((await asked.audit(stock(), None, repair=False)).items) == 1
        else:
            with pytest.raises(Unreachable):
                await asked.audit(stock(), None, repair=False)


def test_one_lost_answer_of_many_is_asked_for_again() -> None:
    asked: list[str] = []

    def once_lost(_method: str, url: str) -> Reply:
        asked.append(url)
        if len(asked) == 7:
            raise Unreachable("the answer got lost")
        return Reply(200, {}, b'{"state": "CONFIRMED"}')

    owners = [("t", f"b{number}") for number in range(50)]
    seen = run_virtually(Inspector(Scripted(once_lost)).read_each(stock(), owners))
    assert [one.branch_id for one in seen] == [branch_id for _, branch_id in owners]


def test_a_participant_that_is_away_is_not_asked_about_every_branch() -> None:
    asked: list[str] = []

    def away(_method: str, url: str) -> Reply:
        asked.append(url)
        raise Unreachable("nobody is there")

    async def story() -> None:
        with pytest.raises(Unreachable, match="nobody is there"):
            await Inspector(Scripted(away)).read_each(stock(), [("t", f"b{n}") for n in range(500)])
        await asyncio.sleep(60)
        assert len(asked) <= (ATTEMPTS + 1) * AT_ONCE

    run_virtually(story())
