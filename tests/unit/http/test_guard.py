"""What the guard does to every request: bounds it, traces it, admits it or turns it away."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Message, Scope

from shared.settings import Settings
from shared.telemetry import current_traceparent
from tests.unit.http.shop import Shop
from tests.unit.http.test_bodies import JSON, PATH, assert_problem

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def in_pieces(pieces: int, size: int = 1_024) -> AsyncIterator[bytes]:
    for _ in range(pieces):
        yield b" " * size


async def test_a_body_of_unknown_length_is_bounded_as_it_comes(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, content=in_pieces(65), headers=JSON)
    assert_problem(answer, 413, "body-too-large")


async def test_a_body_in_pieces_is_put_together(client: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"orderId"', b":", b'"a"}'):
            yield piece

    answer = await client.post(PATH, content=pieces(), headers=JSON)
    assert answer.json()["orderId"] == "a"


async def test_a_trace_is_taken_up_with_a_parent_of_our_own(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, json={}, headers={"traceparent": TRACEPARENT})
    seen = answer.json()["traceparent"]
    assert seen[:36] == TRACEPARENT[:36]
    assert seen[36:52] != TRACEPARENT[36:52]
    assert seen[52:] == "-01"
    assert current_traceparent() is None


@pytest.mark.parametrize("traceparent", ["", "x", TRACEPARENT.upper(), TRACEPARENT + "-", "\xe9", None])
async def test_a_request_without_a_sound_trace_gets_a_new_one(
    client: httpx.AsyncClient, traceparent: str | None
) -> None:
    headers = {} if traceparent is None else {"traceparent": traceparent.encode("latin-1")}
    first = (await client.post(PATH, json={}, headers=headers)).json()["traceparent"]  # type: ignore[arg-type]
    second = (await client.post(PATH, json={}, headers=headers)).json()["traceparent"]  # type: ignore[arg-type]
    assert len(first) == 55
    assert first[3:35] not in (TRACEPARENT[3:35], second[3:35])


@pytest.fixture
def shop() -> Shop:
    settings = Settings(
        _env_file=None, max_orders_in_flight=2, max_protocol_in_flight=3, max_other_in_flight=2
    )
    return Shop(settings)


Answers = list[asyncio.Task[httpx.Response]]


async def busy(shop: Shop, client: httpx.AsyncClient, orders: int = 0, protocol: int = 0) -> Answers:
    """Start requests that stay under way until the shop's gate opens, and wait until they are."""
    shop.gate.clear()
    headers = {"TCC-Transaction-Id": "t"}
    started = [asyncio.create_task(client.post(PATH, json={"orderId": f"o{n}"})) for n in range(orders)]
    started += [asyncio.create_task(client.put(f"{PATH}/{n}", headers=headers)) for n in range(protocol)]
    async with asyncio.timeout(5):
        for _ in started:
            await shop.entered.get()
    return started


async def test_new_orders_are_shed_before_anything_is_written(shop: Shop, client: httpx.AsyncClient) -> None:
    waiting = await busy(shop, client, orders=2)
    answer = await client.post(PATH, json={"orderId": "late"})
    assert_problem(answer, 503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    shop.gate.set()
    assert {task.status_code for task in await asyncio.gather(*waiting)} == {201}
    assert set(shop.orders) == {"o0", "o1"}
    assert (await client.post(PATH, json={"orderId": "later"})).status_code == 201
    assert 'handfast_http_requests_shed_total{lane="orders"} 1.0' in (await client.get("/metrics")).text


async def test_protocol_calls_are_not_shed_for_orders(shop: Shop, client: httpx.AsyncClient) -> None:
    waiting = await busy(shop, client, orders=2)
    protocol = await busy(shop, client, protocol=3)
    assert_problem(await client.put(f"{PATH}/x", headers={"TCC-Branch-Id": "b"}), 503, "overloaded")
    assert (await client.get("/livez")).status_code == 200
    shop.gate.set()
    assert {task.status_code for task in await asyncio.gather(*waiting)} == {201}
    assert {task.status_code for task in await asyncio.gather(*protocol)} == {204}


async def test_a_customers_order_cant_pass_for_a_protocol_call(shop: Shop, client: httpx.AsyncClient) -> None:
    waiting = await busy(shop, client, orders=2)
    answer = await client.post(PATH, json={}, headers={"TCC-Transaction-Id": "t"})
    assert_problem(answer, 503, "overloaded")
    shop.gate.set()
    await asyncio.gather(*waiting)


async def test_a_client_that_leaves_gives_its_place_back(shop: Shop, client: httpx.AsyncClient) -> None:
    async def left() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise AssertionError(f"nobody is there to be told {message}")

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"9")],
    }
    for _ in range(3):
        await shop.api(dict(scope), left, send)
    assert (await client.post(PATH, json={})).status_code == 201


async def test_an_answer_that_breaks_off_is_not_completed(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("the socket is gone")
        sent.append(message)

    scope: Scope = {"type": "http", "method": "GET", "path": "/livez", "headers": []}
    with pytest.raises(OSError, match="the socket is gone"):
        await shop.api(scope, receive, send)
    assert len(sent) == 1
    assert "GET /livez failed" in caplog.text


def test_the_limits_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("HANDFAST_MAX_ORDERS_IN_FLIGHT=7\nHANDFAST_UNKNOWN=1\n")
    monkeypatch.chdir(tmp_path)
    assert Settings().max_orders_in_flight == 7
