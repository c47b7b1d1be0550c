"""The four programs with authentication: one set for each module."""

from collections.abc import Iterator

import pytest

from tests.backing import Backing
from tests.integration.hostile.programs import Programs, running
from tests.issuer import SECRET


@pytest.fixture(scope="module")
def programs(backing: Backing) -> Iterator[Programs]:
    """The four programs with a shared secret."""
    with running(backing, sweep_seconds=0.2, auth_shared_secret=SECRET) as four:
        yield four
