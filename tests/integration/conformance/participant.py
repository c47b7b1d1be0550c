"""A small participant over HTTP that keeps the contract, but for the one thing that it is told to lack.

Its state is in memory and its "database" takes a moment, so that what arrives together does meet.
"""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
from aiohttp import web

from tests.integration.conformance.lacks import Lack

SKEW: Final = 30.0
SWEEP: Final = 0.02
SLOW_DISKS: Final = (0.005, 0.02, 0.08, 0.32)
"""Seconds that it takes to write where races are tried: what arrives at once is to meet there. The busier the
machine, the further apart arrives what was sent at once; so whoever saw no race tries again with the next."""
ID: Final = re.compile(r"[A-Za-z0-9._~-]{1,64}")
TRY_HEADERS: Final = ("TCC-Transaction-Id", "TCC-Branch-Id", "TCC-Deadline")


class Refusal(Exception):
    def __init__(self, status: int, slug: str) -> None:
        super().__init__(slug)
        self.status = status
        self.slug = slug


@dataclass
class Held:
    """A branch. count: how much it holds; deadline: None on a tombstone."""

    transaction_id: str
    state: str
    claim: Any = None
    deadline: datetime | None = None
    asked: int = 0
    refusal: Refusal | None = None

    @property
    def count(self) -> int:
        return int(self.claim["count"])


class ToyParticipant:
    """Holds counts of toys. url, counters_url: its collection and what it counts, once it is served."""

    def __init__(
        self, lack: Lack | None = None, coordinator_url: str | None = None, disk: float = 0.0
    ) -> None:
        self.url = self.counters_url = ""
        self.counters = {"free": 1_000, "held": 0, "kept": 0}
        self._lack = lack
        self._disk_seconds = disk
        self._coordinator_url = coordinator_url
        self._branches: dict[str, Held] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def served(self) -> AsyncIterator["ToyParticipant"]:
        """Serve it on a free port for the time of a block."""
        application = web.Application(middlewares=[self._problems])
        application.router.add_post("/toys", self._try)
        application.router.add_put("/toys/{id}", self._confirm)
        application.router.add_get("/toys/{id}", self._read)
        application.router.add_delete("/toys/{id}", self._cancel)
        application.router.add_get("/counters", self._count)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        here = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self.url, self.counters_url = f"{here}/toys", f"{here}/counters"
        sweeper = asyncio.create_task(self._sweep())
        try:
            yield self
        finally:
            sweeper.cancel()
            await asyncio.wait((sweeper,))
            await runner.cleanup()

    def _lacks(self, lack: Lack) -> bool:
        return self._lack is lack

    @web.middleware
    async def _problems(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            answer: web.StreamResponse = await handler(request)
        except Refusal as refusal:
            if self._lacks(Lack.PROBLEMS):
                return web.Response(status=refusal.status, text=refusal.slug)
            slug = "refused" if self._lacks(Lack.SLUGS) else refusal.slug
            problem = {"type": f"urn:handfast:problem:{slug}", "status": refusal.status, "detail": slug}
            return web.json_response(problem, status=refusal.status, content_type="application/problem+json")
        return answer

    async def _count(self, _request: web.Request) -> web.Response:
        return web.json_response(self.counters)

    async def _try(self, request: web.Request) -> web.Response:
        transaction_id, branch_id, deadline = self._headers(request)
        claim = self._claim(await request.read())
        async with self._exclusive(branch_id, Lack.LOCK_ON_TRY):
            known = self._branches.get(branch_id)
            await self._disk()
            held = (
                await self._hold(branch_id, transaction_id, claim, deadline)
                if known is None
                else await self._again(known, transaction_id, claim)
            )
        return self._reservation(branch_id, held)

    async def _hold(self, branch_id: str, transaction_id: str, claim: Any, deadline: datetime) -> Held:
        allowed = 0.0 if self._lacks(Lack.SKEW) else SKEW
        late = datetime.now(UTC) > deadline + timedelta(seconds=allowed)
        if late and not self._lacks(Lack.DEADLINE):
            raise Refusal(410, "reservation-expired")
        held = Held(transaction_id, "TRIED", claim, deadline)
        if held.count > self.counters["free"]:
            if self._lacks(Lack.REFUSAL):
                raise ZeroDivisionError
            held.state, held.refusal = "CANCELLED", Refusal(409, "out-of-toys")
            self._branches[branch_id] = held
            raise held.refusal
        self._branches[branch_id] = held
        await self._change(free=-held.count, held=held.count)
        return held

    async def _again(self, held: Held, transaction_id: str, claim: Any) -> Held:
        if held.transaction_id != transaction_id and not self._lacks(Lack.TRANSACTION_COMPARED):
            raise Refusal(409, "branch-id-reused")
        if held.refusal is not None:
            raise Refusal(422, "out-of-toys") if self._lacks(Lack.SAME_REFUSAL) else held.refusal
        if held.state == "CANCELLED":
            if held.claim is None:
                raise Refusal(409, "cancelled-before-try")
            if not self._lacks(Lack.CANCELLED_FOR_GOOD):
                raise Refusal(409, "reservation-cancelled")
            held.state = "TRIED"
            await self._change(free=-held.count, held=held.count)
            return held
        if held.claim != claim and not self._lacks(Lack.BODY_COMPARED):
            raise Refusal(409, "branch-id-reused")
        confirmed = held.state == "CONFIRMED" and self._lacks(Lack.TRY_AFTER_CONFIRM)
        if self._lacks(Lack.REPEAT_OF_TRY) or confirmed:
            raise Refusal(409, "already-there")
        if self._lacks(Lack.ONE_HOLD):
            await self._change(free=-1, held=1)
        return held

    async def _confirm(self, request: web.Request) -> web.Response:
        branch_id = request.match_info["id"]
        async with self._exclusive(branch_id, Lack.LOCK_ON_CONFIRM, Lack.LOCK_ON_DECISION):
            held = self._owned(request)
            state = None if held is None else held.state
            await self._disk()
            if held is None:
                if self._lacks(Lack.UNKNOWN_NOT_FOUND):
                    return web.Response(status=204)
                raise Refusal(404, "not-found")
            if state == "CANCELLED" and not self._lacks(Lack.CONFIRM_CONTRADICTED):
                raise Refusal(409, "reservation-cancelled")
            if state == "TRIED":
                return await self._keep(held)
            if self._lacks(Lack.REPEAT_OF_CONFIRM):
                raise Refusal(404, "not-found")
            if self._lacks(Lack.ONE_EFFECT):
                await self._change(kept=held.count)
        return web.Response(status=204)

    async def _keep(self, held: Held) -> web.Response:
        if self._lacks(Lack.APPLYING):
            return web.Response(status=202)
        assert held.deadline is not None
        if self._lacks(Lack.LATE_CONFIRM) and datetime.now(UTC) > held.deadline:
            raise Refusal(410, "reservation-expired")
        held.state = "CONFIRMED"
        await self._change(held=-held.count, kept=held.count)
        return web.Response(status=204)

    async def _cancel(self, request: web.Request) -> web.Response:
        branch_id = request.match_info["id"]
        async with self._exclusive(branch_id, Lack.LOCK_ON_CANCEL, Lack.LOCK_ON_DECISION):
            held = self._owned(request)
            state = None if held is None else held.state
            await self._disk()
            if held is None:
                if self._lacks(Lack.CANCEL_OF_UNKNOWN):
                    raise Refusal(404, "not-found")
                if not self._lacks(Lack.TOMBSTONE):
                    transaction_id = request.headers["TCC-Transaction-Id"]
                    self._branches[branch_id] = Held(transaction_id, "CANCELLED")
            elif state == "TRIED":
                held.state = "CANCELLED"
                if not self._lacks(Lack.RELEASE):
                    await self._change(free=held.count, held=-held.count)
            elif state == "CONFIRMED":
                await self._contradicted(held)
            else:
                await self._cancelled_again(held)
        return web.Response(status=204)

    async def _cancelled_again(self, held: Held) -> None:
        forgotten = Lack.REPEAT_OF_CANCEL if held.refusal is None else Lack.CANCEL_OF_REFUSED
        if self._lacks(forgotten):
            raise Refusal(404, "not-found")
        if self._lacks(Lack.ONE_RELEASE) and held.claim is not None and held.refusal is None:
            await self._change(free=held.count)

    async def _contradicted(self, held: Held) -> None:
        if self._lacks(Lack.CONFIRMED_FOR_GOOD):
            await self._change(kept=-held.count, free=held.count)
        elif not self._lacks(Lack.CANCEL_CONTRADICTED):
            raise Refusal(409, "reservation-confirmed")

    async def _read(self, request: web.Request) -> web.Response:
        held = self._branches.get(request.match_info["id"])
        if held is None:
            raise Refusal(404, "not-found")
        return web.json_response({"state": "CONFIRMED" if self._lacks(Lack.READING) else held.state})

    async def _sweep(self) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                now = datetime.now(UTC)
                for branch_id, held in list(self._branches.items()):
                    if held.state == "TRIED" and held.deadline is not None and held.deadline <= now:
                        await self._expire(client, branch_id, held)
                await asyncio.sleep(SWEEP)

    async def _expire(self, client: httpx.AsyncClient, branch_id: str, held: Held) -> None:
        once_only = self._lacks(Lack.ASKING_AGAIN) and held.asked > 0
        if self._lacks(Lack.PATIENCE):
            decision = "cancel"
        elif self._coordinator_url is None or self._lacks(Lack.SWEEPER) or once_only:
            return
        else:
            held.asked += 1
            decision = await self._ask(client, branch_id, held)
        async with self._locks[branch_id]:
            if held.state != "TRIED":
                return
            if decision == "cancel" and not self._lacks(Lack.CANCELLING_WHEN_TOLD):
                held.state = "CANCELLED"
                await self._change(free=held.count, held=-held.count)
            elif decision == "confirm":
                held.state = "CONFIRMED"
                await self._change(held=-held.count, kept=held.count)

    async def _ask(self, client: httpx.AsyncClient, branch_id: str, held: Held) -> str:
        named = "another" if self._lacks(Lack.INQUIRY_NAMES_BRANCH) else branch_id
        url = f"{self._coordinator_url}/api/v1/transactions/{held.transaction_id}/inquiries"
        answer = await client.post(url, json={"branchId": named})
        if answer.status_code != 200:
            return "cancel" if self._lacks(Lack.HOLDING_ON) else "wait"
        decision = str(answer.json()["decision"])
        disobeyed = {"wait": Lack.WAITING, "confirm": Lack.CONFIRMING_WHEN_TOLD}.get(decision)
        return "cancel" if disobeyed is not None and self._lacks(disobeyed) else decision

    def _headers(self, request: web.Request) -> tuple[str, str, datetime]:
        missing = [name for name in TRY_HEADERS if name not in request.headers]
        if missing and not self._lacks(Lack.HEADERS_CHECKED):
            raise Refusal(422, "invalid-request")
        transaction_id, branch_id, text = (request.headers[name] for name in TRY_HEADERS)
        if not self._lacks(Lack.IDS_CHECKED) and not (
            ID.fullmatch(transaction_id) and ID.fullmatch(branch_id)
        ):
            raise Refusal(422, "invalid-request")
        try:
            deadline = datetime.fromisoformat(text)
        except ValueError:
            if self._lacks(Lack.DEADLINE_CHECKED):
                raise
            raise Refusal(422, "invalid-request") from None
        if deadline.tzinfo is None:
            if not self._lacks(Lack.ZONE_CHECKED):
                raise Refusal(422, "invalid-request")
            deadline = deadline.replace(tzinfo=UTC)
        return transaction_id, branch_id, deadline

    def _claim(self, body: bytes) -> Any:
        try:
            claim = json.loads(body)
            assert isinstance(claim, dict)
            assert isinstance(claim["count"], int)
        except (ValueError, AssertionError):
            if self._lacks(Lack.BODY_CHECKED):
                raise
            raise Refusal(422, "invalid-request") from None
        return claim

    def _owned(self, request: web.Request) -> Held | None:
        held = self._branches.get(request.match_info["id"])
        transaction_id = request.headers.get("TCC-Transaction-Id")
        if transaction_id is None and not self._lacks(Lack.OWNER_NAMED):
            raise Refusal(409, "owned-by-transaction")
        stranger = held is not None and transaction_id not in (None, held.transaction_id)
        if stranger and not self._lacks(Lack.OWNER):
            raise Refusal(409, "branch-id-reused")
        return held

    def _reservation(self, branch_id: str, held: Held) -> web.Response:
        assert held.deadline is not None
        shown = {"id": branch_id, "uri": f"{self.url}/{branch_id}", "expires": held.deadline.isoformat()}
        if self._lacks(Lack.ID_OF_THE_BRANCH):
            shown["id"] = "r-1"
        if self._lacks(Lack.URI):
            shown["uri"] = self.url
        if self._lacks(Lack.EXPIRES):
            del shown["expires"]
        if self._lacks(Lack.SAME_ANSWER):
            shown["expires"] = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
        return web.json_response(shown, status=201)

    def _exclusive(self, branch_id: str, *lacks: Lack) -> AbstractAsyncContextManager[Any]:
        return nullcontext() if self._lack in lacks else self._locks[branch_id]

    async def _change(self, **by: int) -> None:
        if self._lacks(Lack.EFFECT):
            return
        before = dict(self.counters)
        if self._lacks(Lack.ATOMIC_COUNTERS):
            await self._disk()
        for name, change in by.items():
            self.counters[name] = before[name] + change

    async def _disk(self) -> None:
        await asyncio.sleep(self._disk_seconds)
