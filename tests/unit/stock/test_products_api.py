"""Products and adjustments over HTTP, as contract.md has them."""

from typing import Any

import httpx
import pytest


async def put(client: httpx.AsyncClient, product_id: str, **body: Any) -> httpx.Response:
    return await client.put(f"/api/v1/products/{product_id}", json=body)


def slug(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    return str(problem["type"].removeprefix("urn:handfast:problem:"))


async def test_a_put_creates_a_product(client: httpx.AsyncClient) -> None:
    created = await put(client, "p", name="Teapot", onHand=7, purchaseLimit=2)
    assert created.status_code == 201
    assert created.json() == {
        "productId": "p",
        "name": "Teapot",
        "onHand": 7,
        "held": 0,
        "available": 7,
        "sold": 0,
        "purchaseLimit": 2,
        "frozen": False,
    }
    assert (await client.get("/api/v1/products/p")).json() == created.json()


async def test_a_product_needs_nothing_but_its_id(client: httpx.AsyncClient) -> None:
    created = await client.put("/api/v1/products/p")
    assert (created.status_code, created.json()["name"], created.json()["onHand"]) == (201, "p", 0)


async def test_what_is_left_out_of_a_put_stays(client: httpx.AsyncClient) -> None:
    await put(client, "p", name="Teapot", onHand=7, purchaseLimit=2)
    changed = await put(client, "p", frozen=True)
    assert changed.status_code == 200
    assert changed.json() | {"frozen": False} == {
        "productId": "p",
        "name": "Teapot",
        "onHand": 7,
        "held": 0,
        "available": 7,
        "sold": 0,
        "purchaseLimit": 2,
        "frozen": False,
    }


async def test_a_null_limit_is_no_limit(client: httpx.AsyncClient) -> None:
    await put(client, "p", purchaseLimit=2)
    assert (await put(client, "p", purchaseLimit=None)).json()["purchaseLimit"] is None


@pytest.mark.parametrize(
    "body",
    [
        {"onHand": -1},
        {"onHand": "1"},
        {"onHand": True},
        {"onHand": None},
        {"onHand": 10**13},
        {"name": ""},
        {"name": "a\u0000b"},
        {"name": "x" * 201},
        {"name": None},
        {"purchaseLimit": 0},
        {"purchaseLimit": -2},
        {"frozen": 1},
        {"held": 3},
        {"colour": "red"},
        [],
        "p",
    ],
)
async def test_a_malformed_product_is_refused(client: httpx.AsyncClient, body: Any) -> None:
    refused = await client.put("/api/v1/products/p", json=body)
    assert (refused.status_code, slug(refused)) == (422, "invalid-request")
    assert (await client.get("/api/v1/products/p")).status_code == 404


@pytest.mark.parametrize("product_id", ["a b", "%00", "ü", "x" * 65, "a%2Fb", "%0A", "p%0A"])
async def test_a_hostile_product_id_is_refused(client: httpx.AsyncClient, product_id: str) -> None:
    for answer in (
        await client.put(f"/api/v1/products/{product_id}", json={}),
        await client.get(f"/api/v1/products/{product_id}"),
    ):
        assert answer.status_code in (404, 422)
        assert slug(answer)


async def test_an_unknown_product_is_not_found(client: httpx.AsyncClient) -> None:
    for answer in (
        await client.get("/api/v1/products/p"),
        await client.get("/api/v1/products/p/adjustments"),
        await client.post("/api/v1/products/p/adjustments", json={"delta": 1, "reason": "found"}),
    ):
        assert (answer.status_code, slug(answer)) == (404, "not-found")


async def test_every_change_has_another_etag(client: httpx.AsyncClient) -> None:
    tags = [
        (await put(client, "p", onHand=7)).headers["etag"],
        (await put(client, "p", onHand=8)).headers["etag"],
        (await put(client, "p", frozen=True)).headers["etag"],
    ]
    assert len(set(tags)) == 3
    assert (await client.get("/api/v1/products/p")).headers["etag"] == tags[-1]


async def test_a_put_that_changes_nothing_keeps_the_etag(client: httpx.AsyncClient) -> None:
    first = await put(client, "p", onHand=7)
    assert (await put(client, "p", onHand=7)).headers["etag"] == first.headers["etag"]


async def test_if_match_guards_against_lost_updates(client: httpx.AsyncClient) -> None:
    read = (await put(client, "p", onHand=7)).headers["etag"]
    await client.post("/api/v1/products/p/adjustments", json={"delta": -2, "reason": "broken"})
    late = await client.put("/api/v1/products/p", json={"onHand": 10}, headers={"if-match": read})
    assert (late.status_code, slug(late)) == (412, "precondition-failed")
    now = await client.get("/api/v1/products/p")
    assert now.json()["onHand"] == 5
    tag = now.headers["etag"]
    right = await client.put("/api/v1/products/p", json={"onHand": 10}, headers={"if-match": tag})
    assert (right.status_code, right.json()["onHand"]) == (200, 10)


async def test_if_match_never_creates(client: httpx.AsyncClient) -> None:
    refused = await client.put("/api/v1/products/p", json={}, headers={"if-match": "*"})
    assert refused.status_code == 412
    assert (await client.get("/api/v1/products/p")).status_code == 404


async def test_if_none_match_star_never_changes(client: httpx.AsyncClient) -> None:
    star = {"if-none-match": "*"}
    assert (await client.put("/api/v1/products/p", json={"onHand": 1}, headers=star)).status_code == 201
    assert (await client.put("/api/v1/products/p", json={"onHand": 2}, headers=star)).status_code == 412


async def test_an_adjustment_is_recorded(client: httpx.AsyncClient) -> None:
    await put(client, "p", onHand=7)
    made = await client.post("/api/v1/products/p/adjustments", json={"delta": -2, "reason": "broken"})
    assert made.status_code == 201
    assert made.json() | {"adjustmentId": "", "createdAt": ""} == {
        "adjustmentId": "",
        "productId": "p",
        "delta": -2,
        "reason": "broken",
        "onHand": 5,
        "createdAt": "",
    }
    listed = (await client.get("/api/v1/products/p/adjustments")).json()["items"]
    assert [each["delta"] for each in listed] == [7, -2]
    assert listed[-1] == made.json()


async def test_a_put_of_on_hand_is_recorded_as_an_adjustment(client: httpx.AsyncClient) -> None:
    await put(client, "p", onHand=7)
    await put(client, "p", onHand=4)
    await put(client, "p", name="Teapot")
    listed = (await client.get("/api/v1/products/p/adjustments")).json()["items"]
    assert [(each["delta"], each["onHand"]) for each in listed] == [(7, 7), (-3, 4)]


async def test_an_adjustment_below_nothing_is_refused(client: httpx.AsyncClient) -> None:
    await put(client, "p", onHand=7)
    refused = await client.post("/api/v1/products/p/adjustments", json={"delta": -8, "reason": "broken"})
    assert (refused.status_code, slug(refused)) == (409, "below-held")
    assert (await client.get("/api/v1/products/p")).json()["onHand"] == 7


@pytest.mark.parametrize(
    "body",
    [
        {"delta": 1},
        {"reason": "broken"},
        {"delta": 1.5, "reason": "broken"},
        {"delta": "1", "reason": "broken"},
        {"delta": 10**10, "reason": "broken"},
        {"delta": 1, "reason": ""},
        {"delta": 1, "reason": "broken", "who": "me"},
    ],
)
async def test_a_malformed_adjustment_is_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    await put(client, "p", onHand=7)
    refused = await client.post("/api/v1/products/p/adjustments", json=body)
    assert (refused.status_code, slug(refused)) == (422, "invalid-request")


async def test_an_adjustment_is_made_once_under_its_idempotency_key(client: httpx.AsyncClient) -> None:
    await put(client, "p", onHand=7)
    path, body, key = "/api/v1/products/p/adjustments", {"delta": 2, "reason": "found"}, "once"
    answers = [await client.post(path, json=body, headers={"idempotency-key": key}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json() == answers[1].json()
    assert (await client.get("/api/v1/products/p")).json()["onHand"] == 9
    other = await client.post(path, json=body | {"delta": 3}, headers={"idempotency-key": key})
    assert (other.status_code, slug(other)) == (422, "idempotency-key-reused")


async def test_products_are_listed_page_by_page(client: httpx.AsyncClient) -> None:
    for number in range(5):
        await put(client, f"p{number}")
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        query = {"limit": "2"} | ({} if cursor is None else {"cursor": cursor})
        page = (await client.get("/api/v1/products", params=query)).json()
        seen += [each["productId"] for each in page["items"]]
        cursor = page["nextCursor"]
    assert (seen, cursor) == ([f"p{number}" for number in range(5)], None)


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "cursor=nonsense", "cursor=WzFd"])
async def test_a_malformed_page_is_refused(client: httpx.AsyncClient, query: str) -> None:
    for path in ("/api/v1/products", "/api/v1/products/p/adjustments"):
        refused = await client.get(f"{path}?{query}")
        assert (refused.status_code, slug(refused)) == (422, "invalid-request")
