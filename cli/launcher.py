"""Starting a process and hearing of its end: the broker by exec, the programs through the fork server."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cli.lifeline import die_with_parent

ROOT = Path(__file__).resolve().parent.parent


class LaunchFailed(Exception):
    """The process couldn't be started."""


class Launched(Protocol):
    """A process that was started."""

    @property
    def pid(self) -> int: ...

    async def wait(self) -> int:
        """Wait for its end; return its exit code, or the signal that ended it as a negative number."""
        ...


class ExecutedProcess:
    """A process of a foreign program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        return await self._process.wait()


async def execute(arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> ExecutedProcess:
    """Start a foreign program in a session of its own, its output added to log."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    return ExecutedProcess(process)


class ForkedProgram:
    """A program that the fork server forked; its end is reported by the fork server."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)


class ForkServerClient:
    """The fork server from outside: started when first needed, and again when it is gone.

    Its programs die with it; they are then reported as killed. inherited: descriptors that they share.
    """

    def __init__(self, log: Path, inherited: Collection[int] = ()) -> None:
        self._log = log
        self._inherited = inherited
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting: dict[str, asyncio.Future[ForkedProgram]] = {}
        self._running: dict[int, ForkedProgram] = {}
        self._one_at_a_time = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the server, which then imports what it must; launch() may be called at once."""
        async with self._one_at_a_time:
            await self._ensure_running()

    async def launch(
        self, name: str, module: str, log: Path, environment: Mapping[str, str]
    ) -> ForkedProgram:
        """Fork a program; raise LaunchFailed where the server ends before it could."""
        async with self._one_at_a_time:
            process = await self._ensure_running()
            assert process.stdin is not None
            started: asyncio.Future[ForkedProgram] = asyncio.get_running_loop().create_future()
            self._starting[name] = started
            request = {"name": name, "module": module, "log": str(log), "environment": dict(environment)}
            process.stdin.write(json.dumps(request).encode() + b"\n")
        return await started

    async def close(self, seconds: float = 2.0) -> None:
        """End the server, and with it whatever program of its still runs."""
        if self._process is None or self._reader is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader

    async def _ensure_running(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._reader is not None and not self._reader.done():
            return self._process
        search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        with self._log.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "cli.forkserver",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": search},
                pass_fds=self._inherited,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self._reader = asyncio.create_task(self._read(self._process), name="fork server")
        return self._process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self._take(json.loads(line))
        await process.wait()
        for started in self._starting.values():
            started.set_exception(LaunchFailed(f"the fork server ended; see {self._log}"))
        for program in self._running.values():
            program.ended.set_result(-9)
        self._starting.clear()
        self._running.clear()

    def _take(self, event: dict[str, Any]) -> None:
        pid: int = event["pid"]
        if event["event"] == "started":
            program = self._running[pid] = ForkedProgram(pid)
            self._starting.pop(event["name"]).set_result(program)
        else:
            self._running.pop(pid).ended.set_result(event["status"])
