"""What the audit finds of drops, and what it leaves alone."""

from typing import Any

import pytest

from shared.tcc.audit import Discrepancy, Verdict
from stock_service.drops.audit import FAILED, GateAudit, counter_audit
from stock_service.drops.messages import read_issue
from stock_service.drops.passes import Ask, Pass
from tests.integration.drops.world import CODE, World

GRACE_MS = 60_000


def gates(w: World) -> GateAudit:
    return GateAudit(w.outside, w.passes, w.database, w.clock, GRACE_MS)


async def found(auditor: Any, *, repair: bool = False, after: str = "", most: int = 100) -> list[Discrepancy]:
    return [one async for one in auditor.audit(repair=repair, after=after, most=most)]


def kinds(discrepancies: list[Discrepancy]) -> list[str]:
    return [one.kind for one in discrepancies]


async def stick(w: World, claim_id: str, customer: str, code: str = CODE) -> None:
    """Let somebody in and crash before the journal."""
    offer = await w.read(code)
    one = Pass(claim_id, customer, w.clock.now())
    answers = await w.passes.enter([Ask(code, offer.epoch, offer.quantity, offer.per_customer, [one])])
    assert answers == [[0]]


async def test_where_all_is_well_nothing_is_found(drops: World) -> None:
    await drops.offer(5)
    await drops.all("a", "b", "c")
    drops.clock.at += 10 * GRACE_MS
    assert await found(counter_audit(drops.database, drops.clock), repair=True) == []
    if drops.has_passes:
        assert await found(gates(drops), repair=True) == []


async def test_counters_are_counted_again(drops: World) -> None:
    await drops.offer(5)
    await drops.all("a", "b", "c")
    await drops.database.write(
        lambda c: c.exec_driver_sql("UPDATE drop_offer SET taken = 1, issued = 1").rowcount
    )
    auditor = counter_audit(drops.database, drops.clock)
    (one,) = await found(auditor)
    assert (one.kind, one.verdict, one.repaired) == ("counter-differs", Verdict.REPAIRABLE, False)
    assert one.evidence == {"taken": {"is": 1, "shouldBe": 3}, "issued": {"is": 1, "shouldBe": 0}}
    (one,) = await found(auditor, repair=True)
    assert one.repaired
    assert await found(auditor) == []
    await drops.check()


async def test_more_claims_than_units_are_for_a_person_to_judge(drops: World) -> None:
    await drops.offer(3)
    await drops.all("a", "b", "c")
    await drops.database.write(
        lambda c: c.exec_driver_sql("UPDATE drop_offer SET taken = 2, quantity = 2").rowcount
    )
    (one,) = await found(counter_audit(drops.database, drops.clock), repair=True)
    assert (one.kind, one.verdict, one.repaired) == ("drop-exceeded", Verdict.PERSON, False)


async def test_a_unit_that_a_crash_left_in_the_gate_is_given_back_after_the_grace_time(
    outside: World,
) -> None:
    await outside.offer(1)
    assert await outside.claim("warm") == "in"
    await outside.offer(2)
    await stick(outside, "lost", "a")
    outside.clock.at += GRACE_MS
    assert await found(gates(outside), repair=True) == []  # it may be merely under way
    outside.clock.at += 1
    (one,) = await found(gates(outside))
    assert (one.kind, one.repaired) == ("pass-without-claim", False)
    (one,) = await found(gates(outside), repair=True)
    assert one.repaired
    assert await found(gates(outside), repair=True) == []
    assert await outside.claim("a") == "in"
    await outside.check()


async def test_a_claim_whose_pass_is_gone_has_it_again(outside: World) -> None:
    await outside.offer(3)
    claim = (await outside.enter("a")).claim
    await outside.passes.give_back(CODE, [Pass(claim.id, "a", 0)])
    assert await found(gates(outside), repair=True) == []
    outside.clock.at += GRACE_MS + 1
    (one,) = await found(gates(outside), repair=True)
    assert (one.kind, one.repaired) == ("claim-without-pass", True)
    await outside.check()


async def test_a_returned_claim_that_still_has_a_pass_gives_it_back(outside: World) -> None:
    await outside.offer(3)
    claim = (await outside.enter("a")).claim
    await outside.give_back(claim.id)
    await stick(outside, claim.id, "a")
    assert await found(gates(outside), repair=True) == []
    outside.clock.at += GRACE_MS + 1
    assert kinds(await found(gates(outside), repair=True)) == ["pass-without-claim"]
    await outside.check()


async def test_an_emptied_gate_is_built_though_nobody_claims(outside: World) -> None:
    await outside.offer(3)
    await outside.offer(3, "unclaimed")
    await outside.claim("a")
    await outside.passes._client.flushall()
    (one,) = await found(gates(outside))
    assert (one.kind, one.subject, one.repaired) == ("gate-stale", "drop launch", False)
    assert kinds(await found(gates(outside), repair=True)) == ["gate-stale"]
    assert await found(gates(outside)) == []
    await outside.check()


async def test_the_passes_of_a_drop_that_is_over_may_be_deleted(outside: World) -> None:
    """Otherwise a server that forgets nothing would be full one day."""
    await outside.offer(2, closes_at=outside.clock.now() + 1_000)
    claim = (await outside.enter("a")).claim
    outside.clock.at += GRACE_MS + 1_000
    await outside.passes._client.flushall()
    assert await found(gates(outside), repair=True) == []
    assert await outside.passes.epoch(CODE) is None
    await outside.give_back(claim.id)
    assert await outside.claim("a", again=claim.id) == "in"
    await outside.check()


async def test_an_epoch_that_is_no_number_is_none(outside: World) -> None:
    await outside.offer(2)
    assert await outside.claim("a") == "in"
    for heal in (lambda: found(gates(outside), repair=True), lambda: outside.claim("b")):
        await outside.passes._client.set(f"handfast:drop:{{{CODE}}}:epoch", "no number")
        await heal()
        await outside.check()
    assert len(await outside.live()) == 2


async def test_a_drop_whose_check_breaks_does_not_stop_the_others(
    outside: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in ("a", "b", "c"):
        await outside.offer(5, code)
        await outside.claim("warm", code=code)
        await stick(outside, f"lost-{code}", "x", code)
    outside.clock.at += GRACE_MS + 1
    epoch = outside.passes.epoch

    async def breaks(code: str) -> int | None:
        assert code != "b"
        return await epoch(code)

    monkeypatch.setattr(outside.passes, "epoch", breaks)
    assert kinds(await found(gates(outside), repair=True)) == [
        "pass-without-claim",
        FAILED,
        "pass-without-claim",
    ]


async def test_an_audit_goes_on_where_it_stopped(outside: World) -> None:
    for code in ("a", "b"):
        await outside.offer(5, code)
        await outside.claim("warm", code=code)
        for number in (2, 1):
            await stick(outside, f"lost-{number}", f"c{number}", code)
    outside.clock.at += GRACE_MS + 1
    everything = await found(gates(outside))
    places = [one.place for one in everything]
    assert places == sorted(places) == ["a 1 lost-1", "a 1 lost-2", "b 1 lost-1", "b 1 lost-2"]
    for number, place in enumerate(places):
        assert await found(gates(outside), after=place) == everything[number + 1 :]


async def test_nothing_is_mended_that_is_not_told_of(outside: World) -> None:
    await outside.offer(5)
    await outside.claim("warm")
    for number in range(3):
        await stick(outside, f"lost-{number}", f"c{number}")
    outside.clock.at += GRACE_MS + 1
    first = await found(gates(outside), repair=True, most=2)
    rest = await found(gates(outside), repair=True, after=first[-1].place)
    assert (len(first), len(rest)) == (2, 1)
    assert all(one.repaired for one in first + rest)
    assert await found(gates(outside)) == []


async def test_a_claim_of_which_nothing_is_heard_is_published_again_and_ever_more_seldom(
    drops: World,
) -> None:
    await drops.offer(1)
    claim = (await drops.enter("a")).claim
    again = drops.journal.publish_again
    counts = []
    for seconds in (9, 1, 19, 1, 39, 1, 10_000):
        drops.clock.at += 1000 * seconds
        counts.append(await drops.database.write(lambda connection: again(connection, 100)))
    assert counts == [0, 1, 0, 1, 0, 1, 1]
    assert await drops.published() == [claim.id] * 5


async def test_a_claim_that_is_issued_or_returned_is_not_published_again(drops: World) -> None:
    await drops.offer(2)
    claims = [(await drops.enter(customer)).claim for customer in ("a", "b")]
    record = b'{"claimId":"%s","code":"launch","customerId":"a"}' % claims[0].id.encode()
    issued = await drops.database.write(lambda c: drops.journal.issue(c, read_issue(record)))
    assert issued
    await drops.give_back(claims[1].id)
    drops.clock.at += 10_000_000
    assert await drops.database.write(lambda c: drops.journal.publish_again(c, 100)) == 0
