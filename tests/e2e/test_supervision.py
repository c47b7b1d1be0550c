"""The supervisor, the launcher and the fork server, on real processes."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from cli.datadir import started_at
from cli.launcher import ForkServerClient, execute
from cli.supervisor import Supervisor
from tests.e2e.waiting import until

MODULE = "tests.e2e.sample_program"


@pytest.fixture
async def forks(tmp_path: Path) -> AsyncIterator[ForkServerClient]:
    server = ForkServerClient(tmp_path / "forkserver.log")
    yield server
    await server.close()


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    reports: list[str] = []
    supervisor = Supervisor(reports.append, lambda: None)
    yield supervisor
    await supervisor.stop([["a", "b"]], 2.0)


def program(forks: ForkServerClient, tmp_path: Path, name: str = "a", **environment: str):  # type: ignore[no-untyped-def]
    environment = {"SAMPLE_WORD": name, **environment}
    return partial(forks.launch, name, MODULE, tmp_path / f"{name}.log", environment)


async def running(supervisor: Supervisor, log: Path, word: str) -> int:
    """Return the pid of program a once it has said the word, and its supervisor has heard that it runs."""
    await until(lambda: log.exists() and word in log.read_text(), "it runs")
    await until(lambda: "a" in supervisor.pids(), "it is known to run")
    return supervisor.pids()["a"]


async def test_a_killed_program_is_back_with_the_environment_it_had(
    forks: ForkServerClient, supervisor: Supervisor, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    supervisor.start("a", program(forks, tmp_path, SAMPLE_WORD="kept"))
    first = await running(supervisor, log, "kept")
    os.kill(first, signal.SIGKILL)
    await until(lambda: supervisor.pids().get("a", first) != first, "it is back")
    await until(lambda: log.read_text().count("kept") == 2, "its environment is kept")


async def test_a_renewed_program_ends_and_is_back(
    forks: ForkServerClient, supervisor: Supervisor, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    supervisor.start("a", program(forks, tmp_path, SAMPLE_WORD="new"))
    first = await running(supervisor, log, "new")
    supervisor.renew("a")
    await until(lambda: supervisor.pids().get("a", first) != first, "it is back")
    await until(lambda: log.read_text().count("new") == 2, "it runs again")


async def test_a_program_that_cannot_start_is_tried_again_ever_more_slowly(
    forks: ForkServerClient, tmp_path: Path
) -> None:
    reports: list[str] = []
    supervisor = Supervisor(reports.append, lambda: None)
    supervisor.start("a", program(forks, tmp_path, SAMPLE_FAILS="1"))
    await until(lambda: len(reports) >= 3, "it was tried three times")
    await supervisor.stop([["a"]], 2.0)
    assert [report.split(" in ")[1] for report in reports[:3]] == ["0.1 s", "0.2 s", "0.4 s"]
    assert "exit code 1" in reports[0]
    assert "told to fail" in (tmp_path / "a.log").read_text()


async def test_stopping_is_polite_and_in_order(
    forks: ForkServerClient, supervisor: Supervisor, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        supervisor.start(name, program(forks, tmp_path, name))
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    await until(lambda: all(log.exists() and "running" in log.read_text() for log in logs), "both run")
    assert await supervisor.stop([["b"], ["a"]], 5.0) == []
    assert all("stopped" in log.read_text() for log in logs)
    assert logs[1].stat().st_mtime_ns <= logs[0].stat().st_mtime_ns
    assert supervisor.pids() == {}


async def test_who_does_not_listen_is_killed_in_time(
    forks: ForkServerClient, supervisor: Supervisor, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    supervisor.start("a", program(forks, tmp_path, SAMPLE_IS_DEAF="1"))
    pid = await running(supervisor, log, "running")
    began = time.monotonic()
    assert await supervisor.stop([["a"]], 0.5) == ["a"]
    assert time.monotonic() - began < 10
    assert started_at(pid) is None


async def test_programs_come_back_when_their_fork_server_is_killed(
    forks: ForkServerClient, supervisor: Supervisor, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    supervisor.start("a", program(forks, tmp_path))
    first = await running(supervisor, log, "running")
    assert forks.pid is not None
    os.kill(forks.pid, signal.SIGKILL)
    await until(lambda: log.read_text().count("running") == 2, "it is back")
    await until(lambda: started_at(first) is None, "the first is gone")


async def test_a_foreign_program_is_restarted_too(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start("a", partial(execute, ["sleep", "60"], tmp_path / "a.log", {"PATH": os.defpath}))
    await until(lambda: "a" in supervisor.pids(), "it runs")
    first = supervisor.pids()["a"]
    os.kill(first, signal.SIGKILL)
    await until(lambda: supervisor.pids().get("a", first) != first, "it is back")


async def test_nothing_outlives_a_killed_parent(tmp_path: Path) -> None:
    script = f"""
import asyncio, os, pathlib
from cli.launcher import ForkServerClient, execute
async def main():
    home = pathlib.Path({str(tmp_path)!r})
    forks = ForkServerClient(home / "forkserver.log")
    program = await forks.launch("a", {MODULE!r}, home / "a.log", {{"SAMPLE_WORD": "a"}})
    foreign = await execute(["sleep", "60"], home / "b.log", {{"PATH": os.defpath}})
    print(forks.pid, program.pid, foreign.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert parent.stdout is not None
    async with asyncio.timeout(20):
        pids = [int(pid) for pid in (await parent.stdout.readline()).split()]
    assert len(pids) == 3
    assert all(started_at(pid) is not None for pid in pids)
    parent.kill()
    await parent.wait()
    await until(lambda: all(started_at(pid) is None for pid in pids), "all are gone")
