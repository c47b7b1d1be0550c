"""What a killed ephemeral stack left is removed by the next one, and nothing else is."""

import os
import tempfile
from pathlib import Path

import pytest

from cli.datadir import DataDirectory
from cli.ephemeral import SURELY_ABANDONED, ephemeral_settings, new_stack, remove_leftovers
from shared.settings import Settings

SETTINGS = Settings(_env_file=None)


@pytest.fixture(autouse=True)
def scratch_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def killed(settings: Settings) -> Path:
    """Leave what a stack leaves that was killed a while ago."""
    directory = DataDirectory(new_stack(settings).data_dir)
    directory.acquire()
    directory.release()
    lock = directory.path / "up.lock"
    long_ago = lock.stat().st_mtime - 2 * SURELY_ABANDONED
    os.utime(lock, (long_ago, long_ago))
    return directory.path


def test_what_a_killed_stack_left_is_removed() -> None:
    left = killed(SETTINGS)
    (left / "order.db").write_bytes(b"rows")
    remove_leftovers(SETTINGS)
    assert not left.exists()


def test_a_stack_that_runs_is_left_alone() -> None:
    left = killed(SETTINGS)
    running = DataDirectory(left)
    running.acquire()
    remove_leftovers(SETTINGS)
    running.release()
    assert left.exists()


def test_a_stack_that_is_just_being_started_is_left_alone() -> None:
    begun = new_stack(SETTINGS).data_dir
    starting = DataDirectory(new_stack(SETTINGS).data_dir)
    starting.acquire()
    starting.release()
    remove_leftovers(SETTINGS)
    assert begun.exists()
    assert starting.path.exists()


def test_what_has_its_data_elsewhere_is_left_to_whoever_reaches_it() -> None:
    elsewhere = SETTINGS.model_copy(update={"database_url": Settings(database_url=URL).database_url})
    left = killed(elsewhere)
    remove_leftovers(SETTINGS)
    assert left.exists()
    assert "secret" not in (left / "database").read_text()


def test_a_schema_is_named_after_its_directory_within_what_a_name_may_have() -> None:
    long = SETTINGS.model_copy(update={"database_schema": "s" * 40})
    own = ephemeral_settings(long, new_stack(long).data_dir)
    assert Settings(database_schema=own.database_schema).database_schema == own.database_schema


URL = "postgresql://someone:secret@nowhere.test:5432/shop"
