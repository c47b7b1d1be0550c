"""One suite, every participant, every store: each test that asks for `world` runs for each of them."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shared.database.inline import InlineDatabase
from shared.database.port import Database
from shared.database.postgres import PostgresDatabase
from shared.database.sqlite import SqliteDatabase
from shared.http.aiohttp_caller import AiohttpCaller
from tests.cards.stand_in import StripeStandIn, stripe_stand_in
from tests.cards.unlucky_caller import Mishap, UnluckyCaller
from tests.contract.cases import CardCase, Case, OrderCase, PaymentCase, StockCase, ToyCase
from tests.contract.gateway import Fault, Gateway
from tests.contract.world import World, world_of
from tests.postgres import Server

CASES: dict[str, Callable[[], Case]] = {
    "toy": ToyCase,
    "stock": StockCase,
    "stock-optimistic": lambda: StockCase("optimistic"),
    "stock-pessimistic": lambda: StockCase("pessimistic"),
    "stock-queue": lambda: StockCase("queue"),
    "payment": PaymentCase,
    "order": OrderCase,
    "gateway": lambda: ToyCase(Gateway()),
    "dying-gateway": lambda: ToyCase(Gateway(Fault.DIES_BEFORE, Fault.DIES_AFTER)),
    "forgetful-gateway": lambda: ToyCase(Gateway(Fault.FORGETS, Fault.FORGETS)),
    "slow-gateway": lambda: ToyCase(Gateway(Fault.HANGS_BEFORE, Fault.HANGS_AFTER)),
}
CARDS: dict[str, tuple[Mishap, ...]] = {"card": (), "unlucky-card": (Mishap.LOST_ANSWER,)}
"""Payments by card, and what happens to the first call of each kind."""
STANDALONE = ("toy", "payment", "gateway", "card", *(name for name in CASES if name.startswith("stock")))
STORES = ("sqlite", "inline", pytest.param("postgres", marks=pytest.mark.at_length))
"""On PostgreSQL the contract takes minutes, so it runs there when that is asked for: `make test-postgres`."""


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgres")
        return PostgresDatabase(server.emptied("contract"))
    kind = SqliteDatabase if request.param == "sqlite" else InlineDatabase
    return kind(tmp_path / "contract.db")


@pytest.fixture(scope="session")
def stripe() -> Iterator[StripeStandIn]:
    """A stand-in for Stripe that all tests share, one after the other."""
    with stripe_stand_in() as stand_in:
        yield stand_in


@pytest.fixture(params=[*CASES, "unlucky-card"])
async def world(request: pytest.FixtureRequest, store: Database) -> AsyncIterator[World]:
    """Every participant, within a transaction."""
    async with _world(request, store) as world:
        yield world


@pytest.fixture(params=STANDALONE)
async def standalone(request: pytest.FixtureRequest, store: Database) -> AsyncIterator[World]:
    """The participants that know reservations without a transaction."""
    async with _world(request, store) as world:
        yield world


@pytest.fixture
async def toy(store: Database) -> AsyncIterator[World]:
    """The plainest participant, for what is the kit's alone."""
    async with world_of(ToyCase(), store) as world:
        yield world


@pytest.fixture
async def plain() -> AsyncIterator[World]:
    """The plainest participant over one store, for what no store has a part in."""
    async with world_of(ToyCase(), InlineDatabase()) as world:
        yield world


@asynccontextmanager
async def _world(request: pytest.FixtureRequest, store: Database) -> AsyncIterator[World]:
    """Build the world of the participant that is asked for."""
    if request.param in CASES:
        async with world_of(CASES[request.param](), store) as world:
            yield world
        return
    caller = UnluckyCaller(AiohttpCaller(), CARDS[request.param])
    try:
        stripe: StripeStandIn = request.getfixturevalue("stripe")
        async with world_of(CardCase(stripe, store, caller), store) as world:
            yield world
    finally:
        await caller.close()
