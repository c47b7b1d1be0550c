"""What all tests share: their order, and settings that hold on a busy machine."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final, TypeVar

import pytest
from hypothesis import settings

from tests.backing import Backing
from tests.kafka import Kafka, kafka_server
from tests.kafka_in_place import put_in_place
from tests.maven import CannotRun as CannotRunKafka
from tests.postgres import CannotRun, Server, server

T = TypeVar("T")

HERE: Final = Path(__file__).resolve().parent
FIRST: Final = ("e2e", "simulation", "model", "chaos", "integration")
"""Directories whose files take longest: of several processes that share the files, the one that began such a
file last would keep the others waiting."""

# How long one example takes says nothing while other processes want the machine too.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL that all tests of this process share, each in a schema of its own."""
    with ExitStack() as blocks:
        yield _found(blocks, server(), "PostgreSQL", CannotRun)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """An Apache Kafka that all tests of this process share; use topics and groups of your own."""
    with ExitStack() as blocks:
        yield _found(blocks, kafka_server(), "Apache Kafka", CannotRunKafka)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.at_length)])
def backing(request: pytest.FixtureRequest) -> Backing:
    """Where the programs of a module have their data."""
    database = request.getfixturevalue("postgres") if request.param == "postgres" else None
    return Backing(database=database, kafka=request.config.getoption("--kafka"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres",
        action="store_true",
        help="run on PostgreSQL also those tests that are otherwise run on SQLite alone",
    )
    parser.addoption(
        "--kafka", action="store_true", help="have Apache Kafka in the place of every embedded broker"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--kafka"):
        try:
            put_in_place()
        except CannotRunKafka as reason:
            pytest.exit(f"NOT TESTED on Apache Kafka, which can't be run here: {reason}", returncode=1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for option, marker in (("--postgres", "at_length"), ("--kafka", "on_kafka")):
        if config.getoption(option):
            continue
        spared = [item for item in items if item.get_closest_marker(marker)]
        config.hook.pytest_deselected(items=spared)
        items[:] = [item for item in items if not item.get_closest_marker(marker)]
    items.sort(key=_turn)


def _found(blocks: ExitStack, running: AbstractContextManager[T], what: str, why: type[Exception]) -> T:
    """Enter what is to run as long as the blocks; skip, aloud, where it can't."""
    try:
        return blocks.enter_context(running)
    except why as reason:
        pytest.skip(f"NOT TESTED on {what}, which can't be run here: {reason}")


def _turn(item: pytest.Item) -> int:
    directory = item.path.relative_to(HERE).parts[0]
    return FIRST.index(directory) if directory in FIRST else len(FIRST)
