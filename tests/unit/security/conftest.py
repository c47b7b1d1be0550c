import asyncio
from collections.abc import Callable, Mapping

import pytest

from tests.simulation.loop import VirtualLoop


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every test here on virtual time: what is believed for a day costs nothing."""
    return {"virtual": VirtualLoop}
