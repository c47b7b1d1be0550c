"""The programs of docker-compose.yml, started by hand as it says: its commands, its environment.

Only where things are differs: a name within a compose network becomes an address on loopback, and what is
mounted lies in a directory.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from cli.lifeline import die_with_parent
from cli.stack import free_port_offset
from shared.settings import PORTS, Settings
from tests.e2e.waiting import eventually

ROOT: Final = Path(__file__).resolve().parents[2]
STARTS_WITHIN: Final = 180.0
"""Also where other work leaves them hardly any time."""
STOPS_WITHIN: Final = 30.0
_VARIABLE: Final = re.compile(r"\$\{(\w+):-([^}]*)\}")
_RUN: Final = {"python": [sys.executable], "handfast": [sys.executable, "-m", "cli.main"]}


def services(variables: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Return the services of docker-compose.yml; variables: what the environment, or an env file, sets."""
    given = variables or {}
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    filled = _VARIABLE.sub(lambda found: given.get(found[1], found[2]), text)
    found: dict[str, dict[str, Any]] = yaml.safe_load(filled)["services"]
    return found


def env_file(path: Path) -> dict[str, str]:
    """Return what an env file of compose's sets."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


class Composed:
    """The programs. addresses: by `name:port` as compose knows them; secrets: the directory of their files.

    variables: those that compose finds in its environment or an env file; what the file doesn't mention is a
    setting of all programs' besides. settings: to reach them with.
    """

    def __init__(
        self,
        home: Path,
        secrets: Path,
        addresses: Mapping[str, str],
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._home = home
        self._secrets = secrets
        self._offset = free_port_offset()
        programs = {f"{name}:{port}": f"127.0.0.1:{port + self._offset}" for name, port in PORTS.items()}
        self._addresses = {**addresses, **programs}
        self._services = services(variables)
        self._besides = {
            key: value for key, value in (variables or {}).items() if key.startswith("HANDFAST_")
        }
        self.settings = Settings(_env_file=None, port_offset=self._offset, data_dir=home)

    def migrate(self) -> None:
        """Run the one-shot that the programs wait for."""
        done = subprocess.run(
            self._command("migrate"),
            env=self._environment("migrate"),
            cwd=self._home,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have the four programs, ready, for the time of a block."""
        with ExitStack() as processes:
            started = {name: processes.enter_context(self._program(name)) for name in PORTS}
            for name, process in started.items():
                eventually(partial(self._is_ready, name, process), f"{name} is ready", STARTS_WITHIN)
            yield
            for process in started.values():
                process.terminate()  # Each drains, and need not wait for the others.

    @contextmanager
    def _program(self, name: str) -> "Iterator[subprocess.Popen[bytes]]":
        with self._log(name).open("ab") as log:
            process = subprocess.Popen(
                self._command(name),
                env=self._environment(name),
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=partial(die_with_parent, signal.SIGTERM),
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(STOPS_WITHIN)

    def _command(self, name: str) -> Sequence[str]:
        program, *arguments = self._services[name]["command"]
        return [*_RUN[program], *arguments]

    def _environment(self, name: str) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("HANDFAST_")}
        said = {key: self._placed(value) for key, value in self._services[name]["environment"].items()}
        here = {"HANDFAST_HOST": "127.0.0.1", "HANDFAST_PORT_OFFSET": str(self._offset)}
        return {**inherited, "PYTHONPATH": str(ROOT), **said, **self._besides, **here}

    def _placed(self, value: str) -> str:
        for name, address in self._addresses.items():
            # Behind a user, a scheme or nothing: `postgres:5432` is no part of another name.
            value = re.sub(rf"(?<![\w.-]){re.escape(name)}(?!\d)", address, value)
        return value.replace("/run/secrets", str(self._secrets))

    def _log(self, name: str) -> Path:
        return self._home / f"{name}.log"

    def _is_ready(self, name: str, process: "subprocess.Popen[bytes]") -> bool:
        assert process.poll() is None, self._log(name).read_text(errors="replace")[-2_000:]
        try:
            answer = httpx.get(f"{self.settings.url(name)}/readyz", trust_env=False)
        except httpx.TransportError:
            return False
        return answer.status_code == 200
