"""The programs that the tests here are hostile to: one set that they share."""

from collections.abc import Iterator

import pytest

from tests.integration.hostile.programs import Programs, running


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    """The four programs with a broker in memory; products and accounts of your own keep tests apart."""
    with running() as four:
        yield four
