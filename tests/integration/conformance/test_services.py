"""Our three services pass all that can be asked about expiry, with the kit as their coordinator.

tests/e2e/test_conformance.py has all other cases, on a stack. Here the services run as users run them,
without a broker, which Try, Confirm and Cancel over REST don't need.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.conformance.cases import CASES
from cli.conformance.report import Verdict, lines
from cli.conformance.runner import Serving, check
from cli.conformance.target import Begin, Target
from shared.migrations import upgrade
from shared.settings import PORTS
from tests.backing import Backing
from tests.ports import free_port

STARTED_WITHIN = 30.0
EXPIRY = tuple(case for case in CASES if case.waits)


@dataclass(frozen=True, slots=True)
class Service:
    """A program and how the kit drives it. prepared: what is PUT first; paths are below its address."""

    name: str
    collection: str
    claim: Any
    refused_claim: Any
    watch: str | None = None
    prepared: tuple[str, Any] | None = None
    begin: tuple[str, Any] | None = None


SERVICES = (
    Service(
        name="stock",
        collection="/api/v1/stocks",
        claim={"productId": "p", "qty": 2},
        refused_claim={"productId": "p", "qty": 1_000_000},
        watch="/api/v1/products/p",
        prepared=("/api/v1/products/p", {"onHand": 1_000}),
    ),
    Service(
        name="payment",
        collection="/api/v1/payments",
        claim={"paymentAmt": 3},
        refused_claim={"paymentAmt": 1_000_000},
        watch="/api/v1/accounts/guest",
        prepared=("/api/v1/accounts/guest", {"balance": 1_000}),
    ),
    Service(
        name="order",
        collection="/api/v1/order-reservations",
        claim={"orderId": "{orderId}"},
        refused_claim={"orderId": "unheard-of"},
        begin=("/api/v1/orders", {"productId": "p", "qty": 1, "paymentAmt": 1, "hold": {"seconds": 600}}),
    ),
)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
async def test_our_services_ask_and_obey(service: Service, backing: Backing, tmp_path: Path) -> None:
    port = free_port()
    async with running(service.name, backing, tmp_path, f"http://127.0.0.1:{port}") as url:
        if service.prepared is not None:
            path, body = service.prepared
            async with httpx.AsyncClient(trust_env=False) as client:
                (await client.put(url + path, json=body)).raise_for_status()
        report = await check(target(service, url), EXPIRY, serving=Serving("127.0.0.1", port))

    told = "\n".join(line for line, _ in lines(report))
    assert report.count(Verdict.FAILED) == 0, told
    skipped = [result.case.name for result in report.results if result.verdict is Verdict.SKIPPED]
    assert skipped == ["expired-at-a-running-coordinator"], told
    assert [left for result in report.results for left in result.left] == []


def target(service: Service, url: str) -> Target:
    return Target(
        collection=url + service.collection,
        claim=service.claim,
        refused_claim=service.refused_claim,
        watch=None if service.watch is None else url + service.watch,
        begin=None if service.begin is None else Begin(url + service.begin[0], service.begin[1]),
        expiry=1.0,
    )


@contextlib.asynccontextmanager
async def running(name: str, backing: Backing, disk: Path, coordinator_url: str) -> AsyncIterator[str]:
    """Run a program for the time of a block; yield its address."""
    await asyncio.to_thread(upgrade, backing.place(name, disk), name)
    offset = free_port() - PORTS[name]
    url = f"http://127.0.0.1:{PORTS[name] + offset}"
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HANDFAST_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"{name}_service.app",
        env={
            **inherited,
            **backing.environment(disk),
            "HANDFAST_DATA_DIR": str(disk),
            "HANDFAST_PORT_OFFSET": str(offset),
            "HANDFAST_COORDINATOR_URL": coordinator_url,
            "HANDFAST_SWEEP_SECONDS": "0.1",
            # Nobody listens there: no broker of somebody else's is to be met.
            "HANDFAST_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            async with asyncio.timeout(STARTED_WITHIN):
                while not await alive(client):  # noqa: ASYNC110 - another process gives no signal
                    await asyncio.sleep(0.05)
        yield url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def alive(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/livez")).status_code == 200
    except httpx.TransportError:
        return False
