"""The example participant in another language passes the kit, and forgets nothing when it is killed."""

from pathlib import Path
from typing import Any

import httpx

from cli.conformance.cases import CASES
from cli.conformance.report import Verdict, lines
from cli.conformance.runner import Serving, check
from cli.conformance.target import Target
from tests.integration.conformance.node import needs_node, seats
from tests.ports import free_port

COLLECTION = "/api/v1/seats"
CLAIM = {"show": "evening", "seats": 1}
NOBODY = "http://127.0.0.1:9"
DEADLINE = "2099-01-01T00:00:00Z"


@needs_node
async def test_it_passes_every_case(tmp_path: Path) -> None:
    port = free_port()
    async with seats(tmp_path / "journal", f"http://127.0.0.1:{port}") as url:
        target = Target(
            collection=url + COLLECTION,
            claim=CLAIM,
            refused_claim={"show": "evening", "seats": 1_000},
            watch=f"{url}/api/v1/shows",
            expiry=1.0,
        )
        report = await check(target, CASES, serving=Serving("127.0.0.1", port))

    told = "\n".join(line for line, _ in lines(report))
    assert report.count(Verdict.FAILED) == 0, told
    assert report.count(Verdict.SKIPPED) == 1, told
    assert report.conforms


@needs_node
async def test_what_it_answered_outlives_a_kill(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with seats(journal, NOBODY) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for branch_id in ("held", "kept", "let-go", "full"):
            claim = CLAIM if branch_id != "full" else {"show": "evening", "seats": 1_000}
            await try_(client, branch_id, claim)
        await decide(client, "PUT", "kept")
        await decide(client, "DELETE", "let-go")
        await decide(client, "DELETE", "never-tried")
        before = (await client.get("/api/v1/shows")).json()
    with journal.open("a", encoding="utf-8") as torn:
        torn.write('{"id":"cut-short","state":"TRI')

    async with seats(journal, NOBODY) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        assert (await client.get("/api/v1/shows")).json() == before
        assert before["evening"] == {"free": 198, "held": 1, "sold": 1}
        assert await try_(client, "held") == 201
        assert await try_(client, "kept") == 201
        assert await try_(client, "let-go") == 409
        assert await try_(client, "never-tried") == 409
        assert await try_(client, "full", {"show": "evening", "seats": 1_000}) == 409
        assert await decide(client, "DELETE", "kept") == 409
        assert await decide(client, "PUT", "held") == 204
        assert await try_(client, "cut-short") == 201
        assert (await client.get("/api/v1/shows")).json()["evening"] == {"free": 197, "held": 1, "sold": 2}


async def try_(client: httpx.AsyncClient, branch_id: str, claim: Any = None) -> int:
    headers = {"TCC-Transaction-Id": "tx", "TCC-Branch-Id": branch_id, "TCC-Deadline": DEADLINE}
    return (await client.post(COLLECTION, json=claim or CLAIM, headers=headers)).status_code


async def decide(client: httpx.AsyncClient, method: str, branch_id: str) -> int:
    headers = {"TCC-Transaction-Id": "tx"}
    return (await client.request(method, f"{COLLECTION}/{branch_id}", headers=headers)).status_code
