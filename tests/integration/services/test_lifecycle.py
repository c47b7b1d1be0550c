"""Starting, stopping, and what is lost meanwhile: nothing."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import httpx
import pytest

from shared.errors import HandfastError
from shared.migrations import upgrade
from shared.settings import PORTS
from stock_service.app import create_app
from stock_service.settings import StockSettings
from tests.backing import Backing
from tests.integration.services.conftest import PATIENCE, Machine, Service, slug
from tests.ports import free_port

STOCKS = "/api/v1/stocks"


async def test_a_confirm_accepted_before_a_stop_is_applied_after_the_start(machine: Machine) -> None:
    async with machine.stock() as stock:
        await stock.client.put("/api/v1/products/p", json={"onHand": 10})
        made = await stock.client.post(STOCKS, json={"productId": "p", "qty": 2})
        path = f"{STOCKS}/{made.json()['id']}"
        machine.broker.available = False
        assert (await stock.client.put(path)).status_code == 202
    machine.broker.available = True
    async with machine.stock() as stock:
        await stock.until_state(path, "CONFIRMED")
        product = await stock.json("/api/v1/products/p")
        assert (product["onHand"], product["held"], product["sold"]) == (8, 0, 2)


async def test_while_it_drains_it_serves_and_is_not_ready_and_then_nobody_waits_any_more(
    machine: Machine,
) -> None:
    async with machine.stock() as stock:
        await stock.client.put("/api/v1/products/p", json={"onHand": 10})
        made = await stock.client.post(STOCKS, json={"productId": "p", "qty": 2})
        machine.broker.available = False
        path = f"{STOCKS}/{made.json()['id']}"
        waiting = asyncio.create_task(stock.client.put(path, headers={"prefer": "wait=30"}))
        await stock.until_state(path, "CONFIRMING")
        stock.api.state.drain.begin()
        not_ready = await stock.client.get("/readyz")
        assert "draining" in not_ready.json()["problems"]["program"]
        assert (await stock.client.post(STOCKS, json={"productId": "p", "qty": 1})).status_code == 201
        assert not waiting.done()
        stock.api.state.drain.hurry()
        async with asyncio.timeout(PATIENCE):
            assert (await waiting).status_code == 202


async def test_a_confirm_that_the_broker_forgot_is_published_again(machine: Machine) -> None:
    async with machine.payment() as payment:
        await payment.client.put("/api/v1/accounts/guest", json={"balance": 10})
        made = await payment.client.post("/api/v1/payments", json={"paymentAmt": 4})
        path = f"/api/v1/payments/{made.json()['id']}"
        machine.broker.available = False
        assert (await payment.client.put(path)).status_code == 202
        machine.broker.forget()
        machine.broker.available = True
        payment.clock.shift += 11_000
        await payment.until_state(path, "CONFIRMED")
        assert (await payment.json("/api/v1/accounts/guest"))["captured"] == 4


async def test_a_service_is_not_ready_while_the_broker_is_away(machine: Machine) -> None:
    async with machine.stock() as stock:
        await stock.until(lambda: answers(stock, 200))
        machine.broker.available = False
        await stock.until(lambda: answers(stock, 503))
        assert slug(await stock.client.get("/readyz")) == "not-ready"
        assert (await stock.client.get("/livez")).status_code == 200
        # What needs no broker is served all the same.
        assert (await stock.client.put("/api/v1/products/p", json={"onHand": 1})).status_code == 201
        machine.broker.available = True
        await stock.until(lambda: answers(stock, 200))


async def answers(stock: Service, status: int) -> bool:
    return (await stock.client.get("/readyz")).status_code == status


async def test_a_database_without_its_schema_is_refused(machine: Machine) -> None:
    settings = StockSettings(data_dir=machine.disk)
    api = create_app(settings, machine.surroundings)
    with pytest.raises(HandfastError, match="handfast db upgrade"):
        async with api.router.lifespan_context(api):
            pass


@contextlib.asynccontextmanager
async def process(program: str, backing: Backing, disk: Path, offset: int):  # type: ignore[no-untyped-def]
    """Run a program as users do; it is killed at the end if it still runs."""
    environment = {
        **os.environ,
        **backing.environment(disk),
        "HANDFAST_DATA_DIR": str(disk),
        "HANDFAST_PORT_OFFSET": str(offset),
    }
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"{program}_service.app",
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


@pytest.mark.parametrize("program", ["stock", "payment"])
async def test_a_program_lives_without_its_broker_and_stops_when_told(
    program: str, backing: Backing, tmp_path: Path
) -> None:
    await asyncio.to_thread(upgrade, backing.place(program, tmp_path), program)
    offset = free_port() - PORTS[program]
    assert offset > 0
    url = f"http://127.0.0.1:{PORTS[program] + offset}"
    async with (
        process(program, backing, tmp_path, offset) as running,
        httpx.AsyncClient(base_url=url) as client,
    ):
        async with asyncio.timeout(PATIENCE):
            while not await alive(client):  # noqa: ASYNC110 - another process gives no signal
                await asyncio.sleep(0.05)
        assert (await client.get("/readyz")).status_code == 503
        collection = {"stock": "products", "payment": "accounts"}[program]
        assert (await client.get(f"/api/v1/{collection}")).json() == {"items": [], "nextCursor": None}
        running.send_signal(signal.SIGTERM)
        async with asyncio.timeout(8):
            assert await running.wait() == 0


async def test_a_program_says_what_to_do_about_a_missing_schema(backing: Backing, tmp_path: Path) -> None:
    async with process("stock", backing, tmp_path, free_port() - PORTS["stock"]) as running:
        async with asyncio.timeout(PATIENCE):
            _, told = await running.communicate()
        assert running.returncode != 0
        assert b"handfast db upgrade" in told


async def alive(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/livez")).status_code == 200
    except httpx.TransportError:
        return False
