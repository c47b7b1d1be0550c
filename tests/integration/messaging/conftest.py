"""A store for the one program whose messaging is tested."""

from pathlib import Path

import pytest

from shared.database.port import Database
from shared.database.postgres import PostgresDatabase
from shared.database.sqlite import SqliteDatabase
from tests.backing import Backing


@pytest.fixture
def store(backing: Backing, tmp_path: Path) -> Database:
    """An empty database, not open yet."""
    if backing.database is not None:
        return PostgresDatabase(backing.database.emptied("messaging"))
    return SqliteDatabase(tmp_path / "messaging.db")
