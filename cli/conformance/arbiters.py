"""The coordinator that the participant asks about what has expired: served by the kit, or a real one.

Only one that the kit serves can say what a case wants to be said. Of a real one the kit knows that it cancels
what it has never heard of, and that it remembers having been asked.
"""

import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import httpx
from aiohttp import web

from cli.outcome import OutOfReach, Usage

Ruling = Literal["confirm", "cancel", "wait", "away"]
"""What is said to an inquiry; away: 503, as from a coordinator that can't tell now."""


class ServedCoordinator:
    """Answers inquiries as a case has ruled, and notes them. What no case has ruled on is to be cancelled.

    It also takes part where the participant begins transactions of its own (see Begin): those wait, TRIED,
    until they are ruled on.
    """

    def __init__(self) -> None:
        self._rulings: dict[str, Ruling] = {}
        self._asked: defaultdict[str, list[Any]] = defaultdict(list)
        self._own: dict[str, list[str]] = {}

    def rule(self, transaction_id: str, ruling: Ruling) -> None:
        """Say from now on that of a transaction."""
        self._rulings[transaction_id] = ruling

    def inquiries(self, transaction_id: str) -> list[Any]:
        """Return the documents with which a transaction was asked about, in their order."""
        return self._asked[transaction_id]

    def own_branches(self, transaction_id: str) -> list[str]:
        """Return the branches that whoever began a transaction held by itself."""
        return self._own.get(transaction_id, [])

    def application(self) -> web.Application:
        """Return the server's routes."""
        application = web.Application()
        application.router.add_post("/api/v1/transactions", self._begin)
        application.router.add_post("/api/v1/transactions/{id}/inquiries", self._inquire)
        application.router.add_get("/livez", _alive)
        application.router.add_get("/readyz", _alive)
        return application

    async def _begin(self, request: web.Request) -> web.Response:
        document = await request.json()
        transaction_id = str(document["transactionId"])
        own = [branch["branchId"] for branch in document.get("branches", []) if "branchId" in branch]
        self._own[transaction_id] = own
        self._rulings.setdefault(transaction_id, "wait")
        deadline = datetime.now(UTC) + timedelta(seconds=float(document.get("timeoutSeconds", 10)))
        answer = {"transactionId": transaction_id, "state": "TRIED", "deadline": deadline.isoformat()}
        return web.json_response(answer, status=201)

    async def _inquire(self, request: web.Request) -> web.Response:
        transaction_id = request.match_info["id"]
        text = await request.text()
        try:
            document = json.loads(text) if text else None
        except ValueError:
            document = text
        self._asked[transaction_id].append(document)
        ruling = self._rulings.get(transaction_id, "cancel")
        if ruling == "away":
            problem = {"type": "urn:handfast:problem:try-again", "status": 503, "detail": "Ask again later."}
            return web.json_response(problem, status=503, content_type="application/problem+json")
        state = {"confirm": "CONFIRMING", "cancel": "CANCELLING", "wait": "TRYING"}[ruling]
        # A deadline close by, so that who is told to wait asks again soon.
        deadline = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        return web.json_response({"decision": ruling, "state": state, "deadline": deadline})


@asynccontextmanager
async def serve(coordinator: ServedCoordinator, host: str, port: int) -> AsyncIterator[None]:
    """Serve it for the time of a block. Raises Usage where it can't be served there."""
    runner = web.AppRunner(coordinator.application(), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as failure:
            raise Usage(f"the kit can't be a coordinator at {host}:{port}: {failure.strerror}") from failure
        yield
    finally:
        await runner.cleanup()


async def _alive(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


class RealCoordinator:
    """A running coordinator at a base URL, as the kit needs it: what it knows, and how to decide."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self.url = url.rstrip("/")

    async def knows(self, transaction_id: str) -> bool:
        """Say whether it has a transaction, be it only because somebody asked about it."""
        answer = await self._call("GET", f"/transactions/{transaction_id}")
        if answer.status_code not in (200, 404):
            raise OutOfReach(f"the coordinator at {self.url} answers {answer.status_code}")
        return answer.status_code == 200

    async def decide(self, transaction_id: str, *, confirm: bool) -> int:
        """Decide a transaction that waits for its owner; return the status of the answer."""
        answer = await self._call("PUT" if confirm else "DELETE", f"/transactions/{transaction_id}")
        return answer.status_code

    async def _call(self, method: str, path: str) -> httpx.Response:
        try:
            return await self._client.request(method, f"{self.url}/api/v1{path}")
        except httpx.RequestError as failure:
            what = str(failure) or type(failure).__name__
            raise OutOfReach(f"the coordinator at {self.url} can't be reached: {what}") from failure
