"""Dead letters over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from shared.health import Health
from shared.http.application import create_api
from shared.messaging.letter_routes import dead_letter_routes
from shared.messaging.redaction import Redactor
from shared.settings import Settings
from shared.telemetry import Metrics
from tests.unit.messaging.world import GROUP, TOPIC, World, world

LETTERS = "/api/v1/dead-letters"


@asynccontextmanager
async def api(w: World) -> AsyncIterator[httpx.AsyncClient]:
    routes = dead_letter_routes(w.office(), Redactor())
    app = create_api(
        title="t",
        description="d",
        routers=[routes],
        settings=Settings(),
        health=Health(),
        metrics=Metrics(CollectorRegistry()),
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def kept(w: World, *values: bytes, **options: Any) -> list[str]:
    """Have records fail for good; return their letters' ids."""
    w.verdict = lambda _record: ValueError("password=hunter2 is no JSON")
    for value in values:
        w.publish(value, **options)
    w.relay()
    w.consume()
    letters = await w.until_letters(lambda letters: len(letters) == len(values))
    return [letter.id for letter in letters]


async def test_a_letter_is_shown_whole() -> None:
    async with world() as w, api(w) as client:
        (letter_id,) = await kept(w, b"bad", partition=1, headers=(("ce_id", b"1"), ("raw", b"\xff")))
        shown = (await client.get(f"{LETTERS}/{letter_id}")).json()
        assert "test_letter_routes" not in shown.pop("stackTrace")
        assert shown.pop("createdAt").endswith("Z")
        assert shown.pop("updatedAt").endswith("Z")
        assert shown.pop("failedAt").endswith("Z")
        assert len(shown.pop("group")) == 16
        assert shown == {
            "letterId": letter_id,
            "topic": TOPIC,
            "partition": 1,
            "offset": 0,
            "key": "k",
            "value": "bad",
            "headers": [
                {"name": "ce_id", "value": "1"},
                {"name": "raw", "value": "/w==", "encoding": "base64"},
            ],
            "exception": {
                "type": "builtins.ValueError",
                "cause": "builtins.ValueError",
                "message": "password=*** is no JSON",
                "place": "",
            },
            "attempts": 1,
            "replays": 0,
            "state": "OPEN",
            "transactionId": "tx-of-bad",
            "branchId": "bad",
            "consumerGroup": GROUP,
            "replayed": [],
        }


async def test_bytes_that_are_no_text_are_written_as_base64() -> None:
    async with world() as w, api(w) as client:
        (letter_id,) = await kept(w, b"\xff\x00", key=None)
        shown = (await client.get(f"{LETTERS}/{letter_id}")).json()
        assert (shown["value"], shown["valueEncoding"]) == ("/wA=", "base64")
        assert shown["key"] is None
        assert "keyEncoding" not in shown
        assert shown["branchId"] is None


async def test_letters_are_listed_in_pages() -> None:
    async with world() as w, api(w) as client:
        ids = await kept(w, *(b"r%d" % number for number in range(5)))
        first = (await client.get(LETTERS, params={"limit": 2})).json()
        assert [item["letterId"] for item in first["items"]] == ids[:2]
        second = (await client.get(LETTERS, params={"limit": 3, "cursor": first["nextCursor"]})).json()
        assert [item["letterId"] for item in second["items"]] == ids[2:]
        assert second["nextCursor"] is None
        assert (await client.get(LETTERS, params={"topic": "other"})).json()["items"] == []
        assert len((await client.get(LETTERS, params={"state": "OPEN", "topic": TOPIC})).json()["items"]) == 5
        assert (await client.get(LETTERS, params={"state": "SETTLED"})).json()["items"] == []


async def test_a_replay_is_accepted_written_down_and_then_skipped() -> None:
    async with world() as w, api(w) as client:
        (letter_id,) = await kept(w, b"bad")
        w.verdict = lambda _record: None
        answer = await client.post(
            f"{LETTERS}/{letter_id}/replays", json={"who": "ann", "why": "product thawed"}
        )
        assert answer.status_code == 202
        assert answer.json() == {"letterId": letter_id, "state": "REPLAYING", "replays": 1}
        again = await client.post(f"{LETTERS}/{letter_id}/replays")
        assert again.status_code == 202
        assert again.json()["skipped"] == "under-way"
        await w.until_letters(lambda letters: letters[0].state == "SETTLED")
        settled = await client.post(f"{LETTERS}/{letter_id}/replays")
        assert settled.status_code == 200
        assert settled.json() == {
            "letterId": letter_id,
            "state": "SETTLED",
            "replays": 1,
            "skipped": "settled",
        }
        shown = (await client.get(f"{LETTERS}/{letter_id}")).json()
        assert [(line["who"], line["why"]) for line in shown["replayed"]] == [("ann", "product thawed")]


async def test_bad_requests_get_problems() -> None:
    async with world() as w, api(w) as client:
        unknown = await client.post(f"{LETTERS}/nobody/replays")
        assert unknown.status_code == 404
        assert unknown.json()["type"] == "urn:handfast:problem:unknown-letter"
        assert (await client.get(f"{LETTERS}/nobody")).status_code == 404
        for params in (
            {"limit": "0"},
            {"limit": "501"},
            {"state": "open"},
            {"cursor": "x"},
            {"topic": "a b"},
        ):
            assert (await client.get(LETTERS, params=params)).status_code == 422
        bodies: list[object] = [{"who": 1}, {"whom": "x"}, {"who": ""}, []]
        for body in bodies:
            assert (await client.post(f"{LETTERS}/x/replays", json=body)).status_code == 422
