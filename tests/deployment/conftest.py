"""What docker-compose.yml has its programs stand on, for all tests here."""

from collections.abc import Iterator

import pytest

from tests.deployment.postgres import Guarded
from tests.postgres import CannotRun, server


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    try:
        running = server()
        started = running.__enter__()
    except CannotRun as reason:
        pytest.skip(f"NOT TESTED on PostgreSQL, which can't be run here: {reason}")
    try:
        yield Guarded(started, tmp_path_factory.mktemp("guarded") / "secrets")
    finally:
        running.__exit__(None, None, None)
