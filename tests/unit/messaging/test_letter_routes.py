"""Dead letters over HTTP."""

import asyncio
import base64
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
    routes = dead_letter_routes(w.office(), Redactor(["PIN-[0-9]+"]))
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


async def test_several_letters_are_replayed_by_one_request_with_an_answer_for_each() -> None:
    async with world() as w, api(w) as client:
        first, second = await kept(w, b"first", b"second")
        w.verdict = lambda _record: None
        body = {"who": "ann", "why": "product thawed", "letterIds": [second, "nobody", first]}
        answer = await client.post(f"{LETTERS}/replays", json=body)
        assert answer.status_code == 200
        published = [
            {"letterId": one, "result": {"letterId": one, "state": "REPLAYING", "replays": 1}}
            for one in (second, first)
        ]
        problem = {
            "type": "urn:handfast:problem:unknown-letter",
            "title": "Unknown letter",
            "status": 404,
            "detail": "There is no dead letter nobody.",
        }
        assert answer.json() == {
            "items": [published[0], {"letterId": "nobody", "problem": problem}, published[1]]
        }
        await w.until_letters(lambda letters: {letter.state for letter in letters} == {"SETTLED"})
        again = (await client.post(f"{LETTERS}/replays", json=body)).json()["items"]
        assert [again[place]["result"]["skipped"] for place in (0, 2)] == ["settled"] * 2
        lines = (await client.get(f"{LETTERS}/replays")).json()["items"]
        assert lines == (await client.get(f"{LETTERS}/history")).json()["items"]
        assert sorted(line["letterId"] for line in lines) == [first, second]
        assert {(line["act"], line["who"], line["why"]) for line in lines} == {
            ("replay", "ann", "product thawed")
        }


async def test_how_it_stands_with_several_letters_is_said_at_once() -> None:
    async with world() as w, api(w) as client:
        first, second = await kept(w, b"first", b"second")
        value = (await client.get(f"{LETTERS}/{second}")).json()["value"]
        edited = await client.post(f"{LETTERS}/{second}/edits", json={"value": value})
        successor = edited.json()["letterId"]
        asked = {"letterId": [second, "nobody", first]}
        answer = await client.get(f"{LETTERS}/standings", params=asked)
        assert answer.status_code == 200
        one, two = answer.json()["items"]
        assert one == {
            "letterId": first,
            "state": "OPEN",
            "replays": 0,
            "exception": {
                "type": "builtins.ValueError",
                "cause": "builtins.ValueError",
                "message": "password=*** is no JSON",
                "place": "",
            },
        }
        assert (two["letterId"], two["state"], two["replacedBy"]) == (second, "EDITED", successor)


async def test_a_request_about_several_letters_is_bounded() -> None:
    async with world() as w, api(w) as client:
        many = [f"L{number}" for number in range(101)]
        for wrong in ([], many, ["a/b"]):
            assert (await client.post(f"{LETTERS}/replays", json={"letterIds": wrong})).status_code == 422
            asked = await client.get(f"{LETTERS}/standings", params={"letterId": wrong})
            assert asked.status_code == 422, wrong
        assert (await client.post(f"{LETTERS}/replays", json={})).status_code == 422
        items = (await client.post(f"{LETTERS}/replays", json={"letterIds": many[:100]})).json()["items"]
        assert [item["problem"]["status"] for item in items] == [404] * 100
        longest = ["L" * 60 + str(number) for number in range(1_000, 1_100)]
        asked = await client.get(f"{LETTERS}/standings", params={"letterId": longest})
        assert asked.json() == {"items": []}


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


async def test_secrets_are_taken_out_unless_asked_for() -> None:
    async with world() as w, api(w) as client:
        secret = b'{"token": "hunter2", "card": "4111 1111 1111 1111", "pin": "PIN-1234"}'
        headers = (("authorization", b"Bearer abcdefgh"), ("x-api-key", b"k1"), ("ce_id", b"1"))
        (letter_id,) = await kept(w, secret, headers=headers)
        for shown in (
            (await client.get(f"{LETTERS}/{letter_id}")).json(),
            (await client.get(LETTERS)).json()["items"][0],
        ):
            assert shown["value"] == '{"token": "***", "card": "***", "pin": "***"}'
            assert [one["value"] for one in shown["headers"]] == ["Bearer ***", "***", "1"]
            assert shown["redacted"] is True
        whole = (await client.get(f"{LETTERS}/{letter_id}", params={"redact": "false"})).json()
        assert whole["value"].encode() == secret
        assert [one["value"] for one in whole["headers"]] == ["Bearer abcdefgh", "k1", "1"]
        assert "redacted" not in whole


async def test_secrets_in_bytes_that_are_no_text_are_taken_out_too() -> None:
    async with world() as w, api(w) as client:
        (letter_id,) = await kept(w, b"\xff token=hunter2 \x00")
        shown = (await client.get(f"{LETTERS}/{letter_id}")).json()
        assert base64.b64decode(shown["value"]) == b"\xff token=*** \x00"


async def test_every_act_is_answered_and_written_down() -> None:
    async with world() as w, api(w) as client:
        (letter_id,) = await kept(w, b"bad")
        path, ann = f"{LETTERS}/{letter_id}", {"who": "ann", "why": "asked to"}
        for noun, state in (("parkings", "PARKED"), ("releases", "OPEN")):
            answer = await client.post(f"{path}/{noun}", json=ann)
            assert (answer.status_code, answer.json()) == (200, {"letterId": letter_id, "state": state})
            await asyncio.sleep(1)
        edited = await client.post(f"{path}/edits", json={**ann, "value": "YmFk", "valueEncoding": "base64"})
        assert (edited.status_code, edited.json()["replaces"]) == (201, letter_id)
        successor = edited.json()["letterId"]
        assert edited.headers["location"] == f"{LETTERS}/{successor}"
        again = await client.post(f"{path}/edits", json={**ann, "value": "bad"})
        assert (again.status_code, again.json()["letterId"]) == (200, successor)
        assert (await client.post(f"{path}/parkings")).json()["replacedBy"] == successor
        replay = await client.post(f"{path}/replays")
        assert (replay.status_code, replay.json()["skipped"]) == (200, "edited")
        assert replay.json()["replacedBy"] == successor
        await asyncio.sleep(1)
        purged = await client.post(f"{LETTERS}/purges", json={**ann, "limit": 1})
        assert purged.json()["purged"] == [letter_id]
        rest = await client.post(f"{LETTERS}/purges", json={**ann, "cursor": purged.json()["nextCursor"]})
        assert [one["letterId"] for one in rest.json()["kept"]] == [successor]
        assert rest.json()["nextCursor"] is None
        done = (await client.get(f"{path}/history")).json()["items"]
        assert [(one["act"], one["who"], one["why"]) for one in done] == [
            (act, "ann", "asked to") for act in ("park", "release", "edit", "purge")
        ]
        assert (await client.get(f"{LETTERS}/purges")).json()["items"] == done[3:]
        everything = (await client.get(f"{LETTERS}/history", params={"limit": 2})).json()
        assert everything["items"] == done[:2]
        cursor = {"cursor": everything["nextCursor"]}
        assert len((await client.get(f"{LETTERS}/history", params=cursor)).json()["items"]) == 3
        narrowed = {"letterId": letter_id, "act": "edit", "since": done[0]["at"]}
        assert (await client.get(f"{LETTERS}/history", params=narrowed)).json()["items"] == done[2:3]
        assert (await client.get(f"{LETTERS}/nobody/history")).status_code == 404


async def test_groups_are_listed_in_pages_and_narrowed_down() -> None:
    async with world() as w, api(w) as client:
        await kept(w, b"a", b"b")
        [group] = (await client.get(f"{LETTERS}/groups")).json()["items"]
        assert (group["exception"], group["count"]) == ("builtins.ValueError", 2)
        assert (group["topics"], group["states"]) == ({TOPIC: 2}, {"OPEN": 2})
        inside = {
            "group": group["group"],
            "exception": "ValueError",
            "attempts": "1",
            "since": group["firstSeen"],
        }
        assert len((await client.get(LETTERS, params=inside)).json()["items"]) == 2
        outside = {"until": group["firstSeen"]}
        assert (await client.get(f"{LETTERS}/groups", params=outside)).json()["items"] == []


async def test_filters_and_acts_that_can_not_be_meant_get_problems() -> None:
    async with world() as w, api(w) as client:
        (letter_id,) = await kept(w, b"bad")
        for params in (
            {"group": "xyz"},
            {"since": "yesterday"},
            {"until": "2026-11-24T10:00:00"},
            {"attempts": "0"},
            {"exception": "a b"},
            {"transactionId": "a/b"},
        ):
            assert (await client.get(LETTERS, params=params)).status_code == 422, params
        edits, purges = f"{LETTERS}/{letter_id}/edits", f"{LETTERS}/purges"
        for path, body, slug in (
            (edits, {"value": "no base64!", "valueEncoding": "base64"}, "invalid-value"),
            (edits, {"value": "other"}, "other-branch"),
            (edits, {}, "invalid-request"),
            (purges, {"olderThanSeconds": -1}, "invalid-request"),
            (purges, {"cursor": "x"}, "invalid-request"),
            (purges, {"everything": True}, "invalid-request"),
        ):
            answer = await client.post(path, json=body)
            assert answer.status_code == 422, (path, body)
            assert answer.json()["type"].rpartition(":")[2] == slug
