"""The caller over sockets: an answer is returned, all else is Unreachable, and everything is bounded."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from shared.errors import Unreachable
from shared.http.aiohttp_caller import AiohttpCaller
from shared.telemetry import trace
from tests.integration.http.conftest import Served

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def caller() -> AsyncIterator[AiohttpCaller]:
    caller = AiohttpCaller(max_connections=4, max_reply_bytes=1_000)
    yield caller
    await caller.close()


@asynccontextmanager
async def peer(answer: bytes, *, then_close: bool = True) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A peer that reads a request's head and sends fixed bytes; yields its URL and the heads it read."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                heads.append(head)
                writer.write(answer)
                await writer.drain()
                if then_close:
                    break
        except asyncio.IncompleteReadError:
            assert heads  # The caller has closed the connection.
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
    finally:
        server.close()


def told(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_an_answer_is_returned_whatever_its_status(served: Served, caller: AiohttpCaller) -> None:
    url = f"{served.url}/api/v1/orders"
    placed = await caller.call("POST", url, body=b'{"orderId":"a"}', timeout=10)
    assert (placed.status, placed.json()["orderId"]) == (201, "a")
    assert placed.headers["location"] == "/api/v1/orders/a"
    assert (await caller.call("PUT", f"{url}/a", timeout=10)).status == 204
    assert (await caller.call("DELETE", f"{url}/confirmed", timeout=10)).status == 409
    assert (await caller.call("GET", f"{url}/a%2Fb", timeout=10)).status == 404
    assert (await caller.call("GET", f"{served.url}/api/v1/broken", timeout=10)).status == 500


async def test_the_trace_is_passed_on(served: Served, caller: AiohttpCaller) -> None:
    with trace(TRACEPARENT):
        placed = await caller.call("POST", f"{served.url}/api/v1/orders", body=b"{}", timeout=10)
    assert placed.json()["traceparent"][3:35] == TRACEPARENT[3:35]


async def test_only_what_is_needed_is_sent(caller: AiohttpCaller) -> None:
    async with peer(told(b"")) as (url, heads):
        await caller.call("PUT", f"{url}/x%2Fy?z=%20", headers={"TCC-Reason": "late"}, timeout=10)
    lines = heads[0].decode().split("\r\n")
    assert lines[0] == "PUT /x%2Fy?z=%20 HTTP/1.1"
    assert {line.split(":")[0] for line in lines[1:] if line} == {"Host", "TCC-Reason", "Content-Length"}


async def test_connections_are_kept(caller: AiohttpCaller) -> None:
    async with peer(told(b"{}"), then_close=False) as (url, heads):
        for _ in range(3):
            await caller.call("GET", url, timeout=10)
        assert len(heads) == 3
        assert caller._session is not None
        assert caller._session.connector is not None
        assert sum(len(kept) for kept in caller._session.connector._conns.values()) == 1


async def test_nobody_there_is_unreachable(caller: AiohttpCaller) -> None:
    async with peer(b"") as (url, _):
        pass
    with pytest.raises(Unreachable, match="got no answer"):
        await caller.call("GET", url, timeout=10)


async def test_no_answer_in_time_is_unreachable(caller: AiohttpCaller) -> None:
    async with peer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", then_close=False) as (url, _):
        with pytest.raises(Unreachable, match=r"not answered within 0\.1 s"):
            await caller.call("GET", url, timeout=0.1)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x16\x03\x01 garbage\r\n\r\n", id="garbage"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\ncut", id="cut off"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", id="an endless header"),
        pytest.param(told(b"a" * 1_001), id="too large"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 1_001, id="too large without a length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + (b"1f4\r\n" + b"a" * 500 + b"\r\n") * 3,
            id="too large in chunks",
        ),
    ],
)
async def test_no_usable_answer_is_unreachable(caller: AiohttpCaller, answer: bytes) -> None:
    async with peer(answer) as (url, _):
        with pytest.raises(Unreachable):
            await caller.call("POST", url, body=b"{}", timeout=10)


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://127.0.0.1/", "http://127.0.0.1:99999/"])
async def test_no_usable_url_is_unreachable(caller: AiohttpCaller, url: str) -> None:
    with pytest.raises(Unreachable):
        await caller.call("GET", url, timeout=10)


async def test_answers_up_to_the_limit_are_taken(caller: AiohttpCaller) -> None:
    for answer in (told(b"a" * 1_000), b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 1_000):
        async with peer(answer) as (url, _):
            assert len((await caller.call("GET", url, timeout=10)).body) == 1_000


async def test_redirects_are_not_followed(caller: AiohttpCaller) -> None:
    async with peer(told(b"", "Location: /elsewhere", status="302 Found")) as (url, heads):
        reply = await caller.call("GET", url, timeout=10)
    assert (reply.status, reply.headers["location"]) == (302, "/elsewhere")
    assert len(heads) == 1


async def test_cookies_are_not_kept(caller: AiohttpCaller) -> None:
    async with peer(told(b"", "Set-Cookie: a=b"), then_close=False) as (url, heads):
        for _ in range(2):
            await caller.call("GET", url, timeout=10)
    assert b"Cookie" not in heads[1]


async def test_packed_answers_stay_packed(caller: AiohttpCaller) -> None:
    async with peer(told(b"\x1f\x8b", "Content-Encoding: gzip")) as (url, _):
        assert (await caller.call("GET", url, timeout=10)).body == b"\x1f\x8b"


async def test_the_environments_proxies_are_ignored(
    caller: AiohttpCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with peer(told(b"direct")) as (url, _):
        assert (await caller.call("GET", url, timeout=10)).body == b"direct"


async def test_who_waits_for_a_connection_waits_within_its_timeout(caller: AiohttpCaller) -> None:
    async with peer(b"", then_close=False) as (url, heads):
        first = [asyncio.create_task(caller.call("GET", url, timeout=10)) for _ in range(4)]
        with pytest.raises(Unreachable, match="not answered within"):
            await caller.call("GET", url, timeout=0.2)
        assert len(heads) == 4
        for task in first:
            task.cancel()
        await asyncio.gather(*first, return_exceptions=True)


async def test_a_caller_may_be_closed_twice_and_used_again(caller: AiohttpCaller) -> None:
    async with peer(told(b"{}")) as (url, _):
        await caller.call("GET", url, timeout=10)
        await caller.close()
        await caller.close()
        assert (await caller.call("GET", url, timeout=10)).status == 200
