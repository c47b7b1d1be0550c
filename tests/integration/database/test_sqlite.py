"""The SQLite store: shared commits, failures of the store itself, and what stopping does."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.util import await_only

import shared.database.sqlite as sqlite_module
from shared.database.port import Work, announce
from shared.database.sqlite import SqliteDatabase
from shared.errors import DatabaseUnavailable, Refused
from tests.integration.database.conftest import METADATA, read_notes, write_down

T = TypeVar("T")


class Gate:
    """Keeps the writer busy until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()

    def work(self, _connection: Connection) -> None:
        self.entered.set()
        assert self._open.wait(10), "nobody opened the gate"

    def open(self) -> None:
        self._open.set()


def announced(work: Work[T]) -> Work[T]:
    """Return work whose commit is told of."""

    def run(connection: Connection) -> T:
        announce(connection)
        return work(connection)

    return run


async def _busy(database: SqliteDatabase) -> tuple[Gate, "asyncio.Task[None]"]:
    gate = Gate()
    task = asyncio.create_task(database.write(gate.work))
    assert await asyncio.to_thread(gate.entered.wait, 10)
    return gate, task


async def test_what_waits_shares_one_commit(sqlite: SqliteDatabase) -> None:
    commits: list[int] = []
    gate, busy = await _busy(sqlite)
    sqlite.on_commit(lambda: commits.append(1))
    writes = [
        asyncio.create_task(sqlite.write(announced(write_down(f"note {number}")))) for number in range(100)
    ]
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(busy, *writes)

    assert len(commits) == 1, "all that waited for the busy writer share a commit"
    assert len(await sqlite.read(read_notes)) == 100


async def test_one_failure_in_a_shared_commit_is_undone_alone(sqlite: SqliteDatabase) -> None:
    def refuse(connection: Connection) -> None:
        write_down("refused")(connection)
        raise Refused("no", "No.")

    def stop(connection: Connection) -> None:
        write_down("stopped")(connection)
        raise StopIteration

    gate, busy = await _busy(sqlite)
    jobs = [write_down("a"), refuse, write_down("b"), write_down("a"), stop, write_down("c")]
    writes = [asyncio.create_task(sqlite.write(job)) for job in jobs]
    await asyncio.sleep(0)
    gate.open()
    results = await asyncio.gather(*writes, return_exceptions=True)
    await busy

    assert [type(result).__name__ for result in results] == [
        "int",
        "Refused",
        "int",
        "IntegrityError",
        "RuntimeError",
        "int",
    ]
    assert await sqlite.read(read_notes) == ["a", "b", "c"]


async def test_a_locked_file_is_unavailable_and_recovers(sqlite: SqliteDatabase, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="locked"):
        await sqlite.write(write_down("too early"))
    assert await sqlite.read(read_notes) == [], "reads go on"
    other.execute("ROLLBACK")
    other.close()
    await sqlite.write(write_down("again"))

    assert await sqlite.read(read_notes) == ["again"]


async def test_a_full_disk_is_unavailable_and_recovers(sqlite: SqliteDatabase) -> None:
    def fill(connection: Connection) -> None:
        connection.execute(text("PRAGMA max_page_count = 8"))
        for number in range(1_000):
            write_down(f"{number}" + 500 * "x")(connection)

    await sqlite.write(write_down("before"))
    gate, busy = await _busy(sqlite)
    filling = asyncio.create_task(sqlite.write(fill))
    beside = asyncio.create_task(sqlite.write(write_down("beside")))
    await asyncio.sleep(0)
    gate.open()
    results = await asyncio.gather(busy, filling, beside, return_exceptions=True)

    assert isinstance(results[1], DatabaseUnavailable)
    assert isinstance(results[2], DatabaseUnavailable), "what shares a commit with a failing store fails too"
    await sqlite.write(write_down("after"))
    assert await sqlite.read(read_notes) == ["before", "after"]


async def test_a_file_that_vanishes_from_under_it_does_not_stop_the_writer(
    sqlite: SqliteDatabase, path: Path
) -> None:
    await sqlite.write(write_down("one"))
    _remove(path)
    # What becomes of the write is SQLite's business; that it is answered is ours.
    results = await asyncio.wait_for(
        asyncio.gather(sqlite.write(write_down("two")), return_exceptions=True), timeout=10
    )

    assert isinstance(results[0], int | DatabaseUnavailable)


@pytest.mark.parametrize("obstacle", ["directory", "garbage", "parent is a file"])
async def test_a_file_that_can_t_be_opened_is_unavailable_at_start(tmp_path: Path, obstacle: str) -> None:
    path = tmp_path / "broken.db"
    if obstacle == "directory":
        path.mkdir()
    elif obstacle == "garbage":
        path.write_bytes(b"this is no database" * 1_000)
    else:
        path.write_text("a file")
        path = path / "inside.db"
    database = SqliteDatabase(path)

    with pytest.raises(DatabaseUnavailable):
        await database.start()
    await database.close()
    assert _threads(path) == []


async def test_nothing_is_taken_before_the_start(path: Path) -> None:
    with pytest.raises(DatabaseUnavailable):
        await SqliteDatabase(path).write(write_down("too early"))


async def test_closing_finishes_what_is_queued(sqlite: SqliteDatabase, path: Path) -> None:
    gate, busy = await _busy(sqlite)
    writes = [asyncio.create_task(sqlite.write(write_down(f"note {number}"))) for number in range(600)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(sqlite.close())
    await asyncio.sleep(0)
    with pytest.raises(DatabaseUnavailable):
        await sqlite.write(write_down("too late"))
    gate.open()
    await asyncio.gather(busy, closing, *writes)

    assert _threads(path) == []
    assert _stored(path) == 600
    assert not _has_log(path), "the file is left whole"


async def test_a_cancelled_waiter_s_write_stands_and_disturbs_nobody(sqlite: SqliteDatabase) -> None:
    gate, busy = await _busy(sqlite)
    gone = asyncio.create_task(sqlite.write(write_down("gone")))
    stays = asyncio.create_task(sqlite.write(write_down("stays")))
    await asyncio.sleep(0)
    gone.cancel()
    gate.open()
    await asyncio.gather(busy, stays)

    assert gone.cancelled()
    assert await sqlite.read(read_notes) == ["gone", "stays"]


async def test_a_read_sees_one_snapshot(sqlite: SqliteDatabase) -> None:
    def look_twice(connection: Connection) -> tuple[list[str], list[str]]:
        first = read_notes(connection)
        await_only(sqlite.write(write_down("meanwhile")))
        return first, read_notes(connection)

    assert await sqlite.read(look_twice) == ([], [])
    assert await sqlite.read(read_notes) == ["meanwhile"]


async def test_a_read_does_not_wait_for_a_write(sqlite: SqliteDatabase) -> None:
    gate, busy = await _busy(sqlite)

    assert await asyncio.wait_for(sqlite.read(read_notes), timeout=10) == []
    gate.open()
    await busy


async def test_a_read_can_t_write(sqlite: SqliteDatabase) -> None:
    with pytest.raises(DatabaseUnavailable, match="readonly"):
        await sqlite.read(write_down("smuggled"))
    assert await sqlite.read(read_notes) == []


async def test_too_many_waiting_writes_are_turned_away(
    sqlite: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "MOST_WAITING", 3)
    gate, busy = await _busy(sqlite)
    writes = [asyncio.create_task(sqlite.write(write_down(f"note {number}"))) for number in range(5)]
    await asyncio.sleep(0)
    gate.open()
    results = await asyncio.gather(*writes, return_exceptions=True)
    await busy

    assert [isinstance(result, DatabaseUnavailable) for result in results] == [False] * 3 + [True] * 2


def test_a_loop_that_is_gone_does_not_keep_the_writer(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    database = SqliteDatabase(path)

    async def leave() -> "asyncio.Task[None]":
        await database.start()
        await database.write(METADATA.create_all)
        task = asyncio.create_task(database.write(gate.work))
        assert await asyncio.to_thread(gate.entered.wait, 10)
        return task

    asyncio.run(leave())
    gate.open()
    asyncio.run(database.close())

    assert _threads(path) == []
    assert "nobody left to answer" in caplog.text


async def test_a_killed_process_keeps_what_was_answered_and_nothing_half_done(path: Path) -> None:
    process = await asyncio.to_thread(
        subprocess.Popen, [sys.executable, "-c", _VICTIM, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    told = await asyncio.to_thread(process.stdout.readline)
    assert told == "half way\n"
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.to_thread(process.wait)
    process.stdout.close()

    database = SqliteDatabase(path)
    await database.start()
    assert await database.read(read_notes) == ["answered"]
    await database.write(write_down("after"))
    await database.close()


_VICTIM = """
import asyncio, sys, threading
from pathlib import Path
from shared.database.sqlite import SqliteDatabase
from tests.integration.database.conftest import METADATA, write_down

async def main():
    database = SqliteDatabase(Path(sys.argv[1]))
    await database.start()
    await database.write(METADATA.create_all)
    await database.write(write_down("answered"))
    def half(connection):
        write_down("half")(connection)
        print("half way", flush=True)
        threading.Event().wait()
    await database.write(half)

asyncio.run(main())
"""


def _threads(path: Path) -> list[str]:
    return [thread.name for thread in threading.enumerate() if path.stem in thread.name]


def _stored(path: Path) -> int:
    connection = sqlite3.connect(path)
    count: int = connection.execute("SELECT count(*) FROM notes").fetchone()[0]
    connection.close()
    return count


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _has_log(path: Path) -> bool:
    return Path(f"{path}-wal").exists()
