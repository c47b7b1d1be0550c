import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from shared.errors import Unreachable
from shared.http.asgi_caller import AsgiCaller
from shared.telemetry import current_traceparent, trace
from tests.unit.http.shop import Shop

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
URL = "http://shop.test/api/v1/orders"


@pytest.fixture
def caller(shop: Shop) -> AsgiCaller:
    return AsgiCaller({"http://shop.test": shop.api})


async def test_an_application_is_called_by_its_origin(caller: AsgiCaller) -> None:
    reply = await caller.call("POST", URL, body=b'{"orderId":"a"}', timeout=5)
    assert (reply.status, reply.json()["orderId"], reply.headers["location"]) == (
        201,
        "a",
        "/api/v1/orders/a",
    )
    assert (await caller.call("GET", "http://shop.test/api/v1/broken", timeout=5)).status == 500


async def test_an_unknown_origin_is_unreachable(caller: AsgiCaller) -> None:
    for url in ("http://else.test/", "http://shop.test:81/", "https://shop.test/"):
        with pytest.raises(Unreachable):
            await caller.call("GET", url, timeout=5)


async def test_the_trace_is_passed_on_and_stays_the_callers(caller: AsgiCaller) -> None:
    with trace(TRACEPARENT):
        reply = await caller.call("POST", URL, body=b"{}", timeout=5)
        assert current_traceparent() == TRACEPARENT
    assert reply.json()["traceparent"][3:35] == TRACEPARENT[3:35]


async def test_an_application_goes_on_when_its_caller_has_given_up(shop: Shop, caller: AsgiCaller) -> None:
    shop.gate.clear()
    with pytest.raises(Unreachable, match="not answered within"):
        await caller.call("POST", URL, body=b'{"orderId":"late"}', timeout=0.01)
    shop.gate.set()
    await asyncio.gather(*caller._tasks)
    assert "late" in shop.orders


async def test_closing_ends_what_nobody_waits_for(shop: Shop, caller: AsgiCaller) -> None:
    shop.gate.clear()
    with pytest.raises(Unreachable):
        await caller.call("POST", URL, body=b'{"orderId":"late"}', timeout=0.01)
    await caller.close()
    assert not caller._tasks
    assert not shop.orders


async def test_a_crash_is_a_500_and_a_flood_is_unreachable() -> None:
    async def crash(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError("crash")

    async def flood(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a" * 1_001})

    caller = AsgiCaller({"http://crash.test": crash, "http://flood.test": flood}, max_reply_bytes=1_000)
    assert (await caller.call("GET", "http://crash.test/", timeout=5)).status == 500
    with pytest.raises(Unreachable, match="larger"):
        await caller.call("GET", "http://flood.test/", timeout=5)
