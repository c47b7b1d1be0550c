"""The HTTP door: what it takes, what it refuses, and how reservations are shown and listed."""

from typing import Any

import pytest

from shared.clock import iso
from shared.tcc.protocol import State
from tests.contract.world import World

TRY = {"TCC-Transaction-Id": "tx-1", "TCC-Branch-Id": "branch-1", "TCC-Deadline": "2099-01-01T00:00:00Z"}


@pytest.mark.parametrize("missing", TRY)
async def test_a_try_takes_all_three_headers_or_none(plain: World, missing: str) -> None:
    headers = {name: value for name, value in TRY.items() if name != missing}
    answer = await plain.client.post(plain.path, json={"name": "bear", "count": 1}, headers=headers)

    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:handfast:problem:invalid-request"
    assert await plain.ledger() == (0, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TCC-Transaction-Id", "a b"),
        ("TCC-Transaction-Id", "x" * 65),
        ("TCC-Transaction-Id", ""),
        ("TCC-Branch-Id", "../etc"),
        ("TCC-Branch-Id", "ümlaut".encode("latin-1")),
        ("TCC-Deadline", "tomorrow"),
        ("TCC-Deadline", "2099-01-01T00:00:00"),
        ("TCC-Deadline", "99999-01-01T00:00:00Z"),
        ("TCC-Deadline", "1790000000000"),
    ],
)
async def test_a_malformed_header_is_refused(plain: World, name: str, value: str | bytes) -> None:
    headers: dict[str, Any] = {**TRY, name: value}
    answer = await plain.client.post(plain.path, json={"name": "bear", "count": 1}, headers=headers)

    assert answer.status_code == 422, answer.text
    assert await plain.ledger() == (0, 0)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_repeated_header_is_refused(plain: World, method: str) -> None:
    headers = [*TRY.items(), ("TCC-Transaction-Id", "tx-2")]
    path = plain.path if method == "POST" else f"{plain.path}/branch-1"
    body = {"name": "bear", "count": 1} if method == "POST" else None
    answer = await plain.client.request(method, path, json=body, headers=headers)

    assert answer.status_code == 422
    assert await plain.state() is State.ABSENT


async def test_a_deadline_in_another_zone_is_the_same_instant(plain: World) -> None:
    headers = {**TRY, "TCC-Deadline": "2099-01-01T02:00:00+02:00"}
    answer = await plain.client.post(plain.path, json={"name": "bear", "count": 1}, headers=headers)

    assert answer.json()["expires"] == "2099-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"name": "bear"}',
        b'{"name": "bear", "count": "1"}',
        b'{"name": "bear", "count": true}',
        b'{"name": "bear", "count": 1.5}',
        b'{"name": "bear", "count": 0}',
        b'{"name": "bear", "count": -1}',
        b'{"name": "bear", "count": 100000000000000000000}',
        b'{"name": "bear", "count": 1, "colour": "brown"}',
        b'{"name": "be\\u0000ar", "count": 1}',
        b'{"name": "bear", "count": 1',
        b"\xff\xfe",
    ],
)
async def test_a_malformed_claim_is_refused(plain: World, body: bytes) -> None:
    answer = await plain.client.post(
        plain.path, content=body, headers={**TRY, "content-type": "application/json"}
    )

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert await plain.state() is State.ABSENT


@pytest.mark.parametrize("branch", ["a%20b", "x" * 65, "%00"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_malformed_id_is_refused(plain: World, method: str, branch: str) -> None:
    headers = {"TCC-Transaction-Id": "tx-1"}
    answer = await plain.client.request(method, f"{plain.path}/{branch}", headers=headers)

    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_odd_reason_is_cleaned_and_the_cancel_goes_through(plain: World) -> None:
    await plain.try_()
    headers: dict[str, Any] = {"TCC-Transaction-Id": "tx-1", "TCC-Reason": b"ol\xe9 " + b"x" * 300}
    answer = await plain.client.delete(f"{plain.path}/branch-1", headers=headers)

    assert answer.status_code == 204
    reason = (await plain.show())["reason"]
    assert reason.startswith("ol? xxx")
    assert len(reason) == 200


async def test_a_confirm_needs_no_body_and_no_content_type(plain: World) -> None:
    await plain.try_()
    headers = {"TCC-Transaction-Id": "tx-1", "content-type": "text/plain"}

    assert (await plain.client.put(f"{plain.path}/branch-1", headers=headers)).status_code == 204


async def test_a_reservation_is_shown_with_its_claim(plain: World) -> None:
    now = iso(plain.clock.now())
    await plain.try_(deadline=plain.clock.now() + 1_000)

    assert await plain.show() == {
        "id": "branch-1",
        "uri": f"http://here.test{plain.path}/branch-1",
        "state": "TRIED",
        "expires": iso(plain.clock.now() + 1_000),
        "transactionId": "tx-1",
        "name": "bear",
        "count": 1,
        "createdAt": now,
        "updatedAt": now,
    }


async def test_a_tombstone_is_shown_without_a_claim(plain: World) -> None:
    await plain.cancel()
    shown = await plain.show()

    assert shown["state"] == "CANCELLED"
    assert "name" not in shown
    assert "expires" not in shown


async def test_lists_come_in_pages_and_by_state(plain: World) -> None:
    for number in range(5):
        await plain.try_(f"branch-{number}")
    await plain.confirm("branch-1")
    await plain.cancel("branch-3")

    first = (await plain.client.get(plain.path, params={"limit": 2})).json()
    assert [item["id"] for item in first["items"]] == ["branch-0", "branch-1"]
    second = (await plain.client.get(plain.path, params={"limit": 3, "cursor": first["nextCursor"]})).json()
    assert [item["id"] for item in second["items"]] == ["branch-2", "branch-3", "branch-4"]
    assert second["nextCursor"] is None
    for state, expected in {"TRIED": [0, 2, 4], "CONFIRMED": [1], "CANCELLED": [3], "CONFIRMING": []}.items():
        listed = (await plain.client.get(plain.path, params={"state": state})).json()
        assert [item["id"] for item in listed["items"]] == [f"branch-{number}" for number in expected]


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "cursor=@@", "state=LOST", "state="])
async def test_a_malformed_query_is_refused(plain: World, query: str) -> None:
    answer = await plain.client.get(f"{plain.path}?{query}")

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_every_answer_is_declared(plain: World) -> None:
    schema = (await plain.client.get("/openapi.json")).json()
    collection, item = schema["paths"][plain.path], schema["paths"][plain.path + "/{reservation_id}"]

    assert {"201", "402", "409", "410", "413", "415", "422", "425", "503"} <= set(
        collection["post"]["responses"]
    )
    assert {"200", "422"} <= set(collection["get"]["responses"])
    assert {"200", "404"} <= set(item["get"]["responses"])
    assert {"202", "204", "404", "409", "410", "425"} <= set(item["put"]["responses"])
    assert {"202", "204", "404", "409", "425"} <= set(item["delete"]["responses"])
    parameters = {parameter["name"] for parameter in collection["post"]["parameters"]}
    assert parameters == {"TCC-Transaction-Id", "TCC-Branch-Id", "TCC-Deadline"}
    properties = schema["components"]["schemas"]["ToyReservation"]["properties"]
    assert {"id", "uri", "state", "expires", "transactionId", "inDoubt", "name", "count"} <= set(properties)
    assert "seconds" in schema["components"]["schemas"]["ToyReservationRequest"]["properties"]
