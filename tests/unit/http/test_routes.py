"""Every path and method has its answer: a route's, or a problem that says what to do."""

import httpx
import pytest
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from shared.http.dispatch import Dispatch
from shared.http.lean import LeanRoute
from tests.unit.http.shop import Shop
from tests.unit.http.test_bodies import assert_problem


async def test_an_unknown_path_is_a_404_problem(client: httpx.AsyncClient) -> None:
    for path in (
        "/",
        "/nowhere",
        "/api/v1/orders/",
        "/api/v1/orders/a/b",
        "//api/v1/orders",
        "/api/v1/orders/%2F",
    ):
        assert_problem(await client.get(path), 404, "not-found")


@pytest.mark.parametrize("method", ["PATCH", "TRACE", "PUT", "DELETE", "BREW"])
async def test_an_undeclared_method_is_a_405_problem_that_names_all_others(
    client: httpx.AsyncClient, method: str
) -> None:
    answer = await client.request(method, "/api/v1/orders")
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


async def test_options_tells_the_methods(client: httpx.AsyncClient) -> None:
    answer = await client.options("/api/v1/orders/a")
    assert answer.status_code == 204
    assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"


@pytest.mark.parametrize("path", ["/livez", "/api/v1/orders", "/api/v1/orders/unknown", "/openapi.json"])
async def test_head_answers_as_get_without_a_body(client: httpx.AsyncClient, path: str) -> None:
    got, head = await client.get(path), await client.head(path)
    assert head.status_code == got.status_code
    assert head.headers == got.headers
    assert head.content == b""


@pytest.mark.parametrize(
    "order_id", ["a%0A", "a" * 65, "%00", "%F0%9F%98%80", "a%20b", "%3Cscript%3E", "'--"]
)
async def test_a_hostile_id_is_a_422_problem(client: httpx.AsyncClient, order_id: str) -> None:
    answer = await client.get(f"/api/v1/orders/{order_id}")
    assert_problem(answer, 422, "invalid-request")
    assert answer.json()["errors"][0]["field"] == "orderId"


async def test_a_refusal_is_a_problem_with_its_own_members(client: httpx.AsyncClient) -> None:
    answer = await client.delete("/api/v1/orders/confirmed")
    assert answer.json() == {
        "type": "urn:handfast:problem:order-confirmed",
        "title": "Order confirmed",
        "status": 409,
        "detail": "Ask for a refund.",
        "balance": 7,
    }
    assert_problem(await client.get("/api/v1/orders/unknown"), 404, "not-found")


async def test_not_now_says_when_to_try_again(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/away")
    assert_problem(answer, 503, "try-again")
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("path", ["/api/v1/broken", "/api/v1/broken-lean"])
async def test_our_own_mistakes_are_logged_and_not_told(
    client: httpx.AsyncClient, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await client.get(path)
    assert_problem(answer, 500, "internal-error")
    assert "secret" not in answer.text
    logged = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(logged) == 1
    assert "ZeroDivisionError: a secret" in caplog.text


async def test_a_lists_pages_follow_each_other(client: httpx.AsyncClient) -> None:
    for name in "abcde":
        await client.post("/api/v1/orders", json={"orderId": name})
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/api/v1/orders", params=params)).json()
        seen += [each["orderId"] for each in page["items"]]
        cursor = page["nextCursor"]
    assert seen == list("abcde")
    assert cursor is None


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=x",
        "limit=1.5",
        "cursor=",
        "cursor=x",
        "cursor=%ff",
        "cursor=WzFd",
        "cursor=" + "a" * 513,
    ],
)
async def test_a_bad_page_is_a_422_problem(client: httpx.AsyncClient, query: str) -> None:
    assert_problem(await client.get(f"/api/v1/orders?{query}"), 422, "invalid-request")


async def test_health_tells_live_and_ready_apart(shop: Shop, client: httpx.AsyncClient) -> None:
    assert (await client.get("/readyz")).json() == {"status": "ready"}
    shop.health.add("relay", lambda: "The broker is away.")
    answer = await client.get("/readyz")
    assert_problem(answer, 503, "not-ready")
    assert answer.json()["problems"] == {"relay": "The broker is away."}
    assert (await client.get("/livez")).status_code == 200
    shop.health.add("relay", lambda: None)
    assert (await client.get("/readyz")).status_code == 200


async def test_metrics_count_requests_by_route_and_not_by_path(client: httpx.AsyncClient) -> None:
    for number in range(3):
        await client.get(f"/api/v1/orders/{number}")
        await client.get(f"/nowhere/{number}")
    text = (await client.get("/metrics")).text
    counted = 'handfast_http_request_seconds_count{method="GET",route="%s",status="404"} 3.0'
    assert counted % "/api/v1/orders/{order_id}" in text
    assert counted % "unknown" in text
    assert "/nowhere/" not in text


def test_an_endpoint_that_cant_be_served_lean_is_refused_when_it_is_declared() -> None:
    router = APIRouter(route_class=LeanRoute)

    async def with_query(request: Request, limit: int = Query()) -> Response:
        raise NotImplementedError

    def not_async(request: Request) -> Response:
        raise NotImplementedError

    async def with_dict(body: dict[str, int]) -> Response:
        raise NotImplementedError

    for endpoint in (with_query, not_async, with_dict):
        with pytest.raises(TypeError, match=endpoint.__name__):
            router.add_api_route("/x", endpoint, methods=["POST"])


def test_a_route_that_does_not_say_whom_it_is_open_to_stops_the_start() -> None:
    router = APIRouter(prefix="/api/v1")

    @router.get("/silent")
    async def silent() -> Response:
        return Response()

    with pytest.raises(TypeError, match=r"/api/v1/silent.*open_to"):
        Dispatch(router.routes, router)
