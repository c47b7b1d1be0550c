"""The example participant in Node as a process, where Node is at hand."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from cli.launcher import ROOT
from tests.ports import free_port

EXAMPLE = ROOT / "infra" / "examples" / "seats.js"
NODE = shutil.which("node")
STARTED_WITHIN = 20.0

needs_node = pytest.mark.skipif(NODE is None, reason="Node is not installed: the example can't be tried")


@contextlib.asynccontextmanager
async def seats(journal: Path, coordinator_url: str, port: int | None = None) -> AsyncIterator[str]:
    """Run it for the time of a block, and kill it; yield its address."""
    assert NODE is not None
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {"PORT": str(port), "COORDINATOR_URL": coordinator_url, "JOURNAL": str(journal)}
    process = await asyncio.create_subprocess_exec(
        NODE,
        str(EXAMPLE),
        env={"PATH": os.environ.get("PATH", ""), **environment},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            async with asyncio.timeout(STARTED_WITHIN):
                while not await _ready(client, process):  # noqa: ASYNC110 - another process gives no signal
                    await asyncio.sleep(0.05)
        yield url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ready(client: httpx.AsyncClient, process: asyncio.subprocess.Process) -> bool:
    assert process.returncode is None, f"it ended with {process.returncode}"
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False
