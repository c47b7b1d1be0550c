"""A stack of one's own: `handfast up` as a child process, for the demo, the bench and the tests."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cli.datadir import DataDirectory
from cli.ephemeral import ephemeral_settings
from cli.launcher import ROOT
from cli.lifeline import die_with_parent
from cli.outcome import CommandError
from cli.programs import instances as instances_of
from cli.programs import taken
from shared.settings import BROKER_PORT, PORTS, Settings

START_WITHIN = 90.0
STOP_WITHIN = 15.0


class OwnStack:
    """A running stack. settings: to reach it with; output: what `up` said so far."""

    def __init__(
        self,
        process: "subprocess.Popen[str]",
        settings: Settings,
        output: list[str],
        listener: threading.Thread,
    ) -> None:
        self.process = process
        self._listener = listener
        self.settings = settings
        self.output = output

    @property
    def directory(self) -> DataDirectory:
        return DataDirectory(self.settings.data_dir)

    def processes(self) -> dict[str, dict[str, Any]]:
        """Return what runs now, by name, as run.json has it."""
        run = self.directory.noted() or {"processes": []}
        return {process["name"]: process for process in run["processes"]}

    def pid(self, name: str) -> int:
        """Return the pid of coordinator, order, stock, payment (stock-1 where there are several) or broker.

        KeyError while it is gone.
        """
        return int(self.processes()[name]["pid"])

    def stop(self, seconds: float = STOP_WITHIN) -> int:
        """Stop it and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return self._reap()

    def kill(self) -> None:
        """Kill `up` itself; what it started dies with it."""
        self.process.kill()
        self._reap()

    def _reap(self) -> int:
        code = self.process.wait()
        self._listener.join()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


def start_stack(
    *,
    port_offset: int | None = None,
    data_dir: Path | None = None,
    environment: Mapping[str, str] | None = None,
    say: Callable[[str], None] | None = None,
    module: str = "cli.main",
    instances: int = 1,
) -> OwnStack:
    """Start a stack and return once it is ready.

    port_offset: a free one unless given; data_dir: a temporary one, removed at the end, unless given;
    environment: variables that it gets besides those of this process, whose own HANDFAST_ ones it doesn't;
    say: hears each line that `up` prints; module: what is run as the `handfast` command; instances: of each
    service. It is stopped when the calling thread ends. Raises CommandError, with what `up` printed, where it
    doesn't start.
    """
    offset = free_port_offset(instances=instances) if port_offset is None else port_offset
    where = ["--ephemeral"] if data_dir is None else ["--data-dir", str(data_dir)]
    where += ["--instances", str(instances)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HANDFAST_")}
    search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(  # noqa: S603 - our own program with our own arguments
        [sys.executable, "-P", "-m", module, "up", "--port-offset", str(offset), *where],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        # Not where the caller is, whose .env is not meant for it.
        cwd="/",
        env={**inherited, "PYTHONPATH": search, **(environment or {})},
        start_new_session=True,
        preexec_fn=partial(die_with_parent, signal.SIGTERM),
    )
    output: list[str] = []
    ready = threading.Event()
    listener = threading.Thread(target=_listen, args=(process, output, ready, say), daemon=True)
    listener.start()
    if not ready.wait(START_WITHIN) or process.poll() is not None or "ready" not in output:
        process.kill()
        process.wait()
        listener.join()
        raise CommandError("the stack didn't start:\n" + "\n".join(f"  {line}" for line in output))
    directory = data_dir or _said_directory(output)
    settings = _settings_of(environment or {}, offset, directory, ephemeral=data_dir is None)
    return OwnStack(process, settings, output, listener)


@contextmanager
def own_stack(**how: Any) -> Iterator[OwnStack]:
    """Have a stack (see start_stack) for the time of a block."""
    stack = start_stack(**how)
    try:
        yield stack
    finally:
        stack.stop()


def free_port_offset(randomness: random.Random | None = None, instances: int = 1) -> int:
    """Return a port offset at which all of a stack's ports are free just now."""
    randomness = randomness or random.SystemRandom()
    for _ in range(100):
        # Below the range from which systems take ports for outgoing connections.
        offset = randomness.randrange(1_000, 22_000)
        settings = Settings(port_offset=offset)
        own = [instance.port for instance in instances_of(settings, instances)]
        if not taken([*own, *(settings.port(name) for name in PORTS), BROKER_PORT + offset]):
            return offset
    raise CommandError("no free ports found in a hundred attempts")


def _listen(
    process: "subprocess.Popen[str]",
    output: list[str],
    ready: threading.Event,
    say: Callable[[str], None] | None,
) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        output.append(line.rstrip("\n"))
        if say is not None:
            say(output[-1])
        if output[-1] == "ready":
            ready.set()
    ready.set()  # It ended; whoever waits shall look.


def _settings_of(
    environment: Mapping[str, str], offset: int, directory: Path, *, ephemeral: bool
) -> Settings:
    """Return the settings with which a stack, and its data, are found."""
    told: dict[str, Any] = {
        name: environment[variable]
        for name in ("database_url", "database_schema")
        if (variable := f"HANDFAST_{name.upper()}") in environment
    }
    told |= {
        variable.removeprefix("HANDFAST_").lower(): value
        for variable, value in environment.items()
        if variable.startswith(("HANDFAST_AUTH_", "HANDFAST_TOKEN"))
    }
    settings = Settings(port_offset=offset, data_dir=directory, **told)
    return ephemeral_settings(settings, directory) if ephemeral else settings


def _said_directory(output: list[str]) -> Path:
    said = "data directory "
    return Path(next(line.removeprefix(said) for line in output if line.startswith(said)))
