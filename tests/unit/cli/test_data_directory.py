"""The data directory of a stack: one `up` at a time, logs bounded, leftovers ended."""

import subprocess
import sys
from pathlib import Path

import pytest

from cli.datadir import DataDirectory, started_at
from cli.outcome import Usage
from cli.rolling import Progress

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_only_one_may_use_it_at_a_time(tmp_path: Path) -> None:
    first, second = DataDirectory(tmp_path), DataDirectory(tmp_path)
    first.acquire()
    first.note([], Progress().note())
    with pytest.raises(Usage, match=r"another `handfast up` \(pid \d+\) uses the data directory"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time; from cli.datadir import DataDirectory;"
        "directory = DataDirectory(pathlib.Path(sys.argv[1])); directory.acquire();"
        "print('held', flush=True); time.sleep(60)"
    )
    root = Path(__file__).resolve().parents[3]
    arguments = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(arguments, cwd=root, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Usage):
            DataDirectory(tmp_path).acquire()
        holder.kill()
        holder.wait()
    directory = DataDirectory(tmp_path)
    directory.acquire()
    directory.release()


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Usage, match="can't be used"):
        DataDirectory(tmp_path / "file").acquire()


def test_leftovers_are_ended_and_nobody_else(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    directory.acquire()
    with subprocess.Popen(SLEEP) as left, subprocess.Popen(SLEEP) as stranger:
        started = started_at(left.pid)
        assert started is not None
        directory.note(
            [
                {"name": "broker", "pid": left.pid, "port": 1, "startedAt": started},
                # The pid is in use again, by a process that started at another time.
                {"name": "stock", "pid": stranger.pid, "port": 2, "startedAt": started - 1},
            ],
            Progress().note(),
        )
        assert directory.end_leftovers() == ["broker"]
        assert left.wait(5) == -9
        assert stranger.poll() is None
        stranger.kill()
    directory.release()


def test_notes_that_were_never_finished_count_as_none(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    assert directory.noted() is None
    (tmp_path / "run.json").write_text('{"pid": 1, "proc')
    assert directory.noted() is None


def test_a_large_log_is_set_aside_while_its_writer_keeps_writing(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    directory.acquire()
    with directory.log("stock").open("a") as writer:
        writer.write("old " * 100)
        writer.flush()
        directory.bound_logs(limit=1_000)
        assert directory.log("stock").read_text() == "old " * 100
        directory.bound_logs(limit=100)
        writer.write("new")
        writer.flush()
    assert directory.log("stock").read_text() == "new"
    assert (tmp_path / "logs" / "stock.log.1").read_text() == "old " * 100
    directory.release()


def test_samples_are_remembered(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    assert not directory.has_samples
    directory.note_samples({"products": ["1"]})
    assert directory.has_samples
