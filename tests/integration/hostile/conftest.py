"""The programs that the tests here are hostile to: one set for each module."""

from collections.abc import Iterator

import pytest

from tests.backing import Backing
from tests.integration.hostile.programs import Programs, running


@pytest.fixture(scope="module")
def programs(backing: Backing) -> Iterator[Programs]:
    """The four programs with a broker in memory; ids of their own keep a module's tests apart."""
    with running(backing, sweep_seconds=0.2) as four:
        yield four
