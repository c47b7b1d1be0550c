"""The proxy passes everything on unchanged until it misbehaves, in just the way that it was told to."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.chaos.plan import Kind
from tests.chaos.proxy import CUT_WITHIN, DELAY_SECONDS, HELD, Proxy, listeners
from tests.e2e.waiting import until

SOON = 5.0
QUIET = 0.3
"""Seconds after which what hasn't come is taken to be held."""


@dataclass
class Bench:
    """A proxy before a server that sends back what it gets. port: of the proxy; heard: all the server got."""

    proxy: Proxy
    port: int
    heard: bytearray = field(default_factory=bytearray)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def bench(seed: int = 1) -> AsyncIterator[Bench]:
    heard = bytearray()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65_536):
                heard.extend(chunk)
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass  # The proxy broke it, as it was told to.
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    target = server.sockets[0].getsockname()
    with listeners(["one"]) as listening:
        proxy = Proxy(listening["one"], target, random.Random(seed))
        async with proxy.run():
            yield Bench(proxy, listening["one"].getsockname()[1], heard)
    server.close()
    await server.wait_closed()


async def test_a_calm_proxy_passes_on_everything_and_the_end() -> None:
    sent = random.Random(7).randbytes(3_000_000)
    async with bench() as one:
        reader, writer = await one.connect()

        async def send() -> None:
            writer.write(sent)
            await writer.drain()
            writer.write_eof()

        async with asyncio.timeout(SOON), asyncio.TaskGroup() as group:
            group.create_task(send())
            received = group.create_task(reader.read())
        assert received.result() == sent
        assert one.proxy.struck == {}
        writer.close()


async def test_a_dropped_connection_is_reset_whether_it_is_old_or_new() -> None:
    async with bench() as one:
        old_reader, old_writer = await one.connect()
        old_writer.write(b"before")
        assert await old_reader.readexactly(6) == b"before"
        with one.proxy.interfered(Kind.DROP):
            old_writer.write(b"during")
            await _is_reset(old_reader)
            new_reader, new_writer = await one.connect()
            await _is_reset(new_reader)
        assert bytes(one.heard) == b"before"
        reader, writer = await one.connect()
        writer.write(b"after")
        assert await reader.readexactly(5) == b"after"
        for opened in (old_writer, new_writer, writer):
            opened.close()


@pytest.mark.parametrize("seed", range(6))
async def test_a_connection_is_cut_after_so_many_bytes_of_one_direction(seed: int) -> None:
    async with bench(seed) as one:
        with one.proxy.interfered(Kind.CUT):
            reader, writer = await one.connect()
            writer.write(bytes(CUT_WITHIN + 1))
            got = await _is_reset(reader)
        assert len(got) < CUT_WITHIN
        # Either the request never came whole, or its answer didn't.
        assert len(one.heard) < CUT_WITHIN or len(one.heard) == CUT_WITHIN + 1
        assert one.proxy.struck == {Kind.CUT: 1}
        writer.close()


async def test_both_directions_are_cut_now_and_then() -> None:
    whole = []
    for seed in range(12):
        async with bench(seed) as one:
            with one.proxy.interfered(Kind.CUT):
                reader, writer = await one.connect()
                writer.write(bytes(CUT_WITHIN + 1))
                await _is_reset(reader)
            whole.append(len(one.heard) > CUT_WITHIN)
            writer.close()
    assert set(whole) == {True, False}


async def test_what_is_delayed_arrives_late_and_whole() -> None:
    async with bench() as one:
        reader, writer = await one.connect()
        began = time.monotonic()
        with one.proxy.interfered(Kind.DELAY):
            writer.write(b"slowly")
            async with asyncio.timeout(2 * DELAY_SECONDS + SOON):
                assert await reader.readexactly(6) == b"slowly"
        assert one.proxy.struck[Kind.DELAY] == 2
        assert 0.01 < time.monotonic() - began < 2 * DELAY_SECONDS + SOON
        writer.close()


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_held_arrives_once_the_trouble_is_over(seed: int) -> None:
    async with bench(seed) as one:
        reader, writer = await one.connect()
        with one.proxy.interfered(Kind.HOLD):
            writer.write(b"held")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(QUIET):
                    await reader.readexactly(4)
        async with asyncio.timeout(SOON):
            assert await reader.readexactly(4) == b"held"
        writer.close()


async def test_a_held_request_arrives_though_its_sender_has_gone() -> None:
    """A late Try: whoever sent it has given it up long since."""
    async with bench(_seed_that_holds_requests()) as one:
        with one.proxy.interfered(Kind.HOLD):
            _, writer = await one.connect()
            writer.write(b"late")
            await until(lambda: one.proxy.struck[Kind.HOLD] == 1, "the request is held")
            writer.close()
            await writer.wait_closed()
            assert one.heard == b""
        await until(lambda: bytes(one.heard) == b"late", "the request arrives")


async def test_a_server_that_is_not_there_looks_like_a_broken_connection() -> None:
    with listeners(["one", "nobody"]) as listening:
        nobody = listening["nobody"].getsockname()
        listening["nobody"].close()
        proxy = Proxy(listening["one"], nobody, random.Random(1))
        async with proxy.run():
            reader, writer = await asyncio.open_connection(*listening["one"].getsockname())
            await _is_reset(reader)
            writer.close()


async def test_who_connects_before_the_proxy_runs_waits() -> None:
    async with bench() as behind:
        with listeners(["early"]) as listening:
            reader, writer = await asyncio.open_connection(*listening["early"].getsockname())
            writer.write(b"early")
            proxy = Proxy(listening["early"], ("127.0.0.1", behind.port), random.Random(1))
            async with proxy.run(), asyncio.timeout(SOON):
                assert await reader.readexactly(5) == b"early"
            writer.close()


async def _is_reset(reader: asyncio.StreamReader) -> bytes:
    """Read to where the connection breaks, which must be by a reset; return what came."""
    got = bytearray()
    try:
        async with asyncio.timeout(SOON):
            while chunk := await reader.read(65_536):
                got.extend(chunk)
    except ConnectionResetError:
        return bytes(got)
    raise AssertionError("it ended in an orderly way")


def _seed_that_holds_requests() -> int:
    return next(seed for seed in range(100) if random.Random(seed).choice(HELD) is HELD[0])
