"""A Kafka Connect of the tests' own, with Debezium's connector, on a free port; it dies with its parent."""

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from cli.lifeline import die_with_parent
from tests.maven import CannotRun, class_path, java
from tests.ports import free_port

POM: Final = Path(__file__).with_name("pom.xml")
STARTS_WITHIN: Final = 90.0
_STOPS_WITHIN: Final = 30.0
_OPTIONS: Final = ("-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class Connect:
    """One worker, in whose connectors `${dir:<directory>:<file>}` stands for what a file says."""

    def __init__(self, home: Path, bootstrap: str) -> None:
        self._home = home
        self._url = f"http://127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None
        settings = {
            "bootstrap.servers": bootstrap,
            "listeners": self._url,
            "group.id": "handfast-connect",
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "config.providers": "dir",
            "config.providers.dir.class": "org.apache.kafka.common.config.provider.DirectoryConfigProvider",
            "offset.flush.interval.ms": 500,
            "offset.storage.partitions": 1,
            "status.storage.partitions": 1,
        }
        for kind in ("config", "offset", "status"):
            settings[f"{kind}.storage.topic"] = f"handfast-connect-{kind}"
            settings[f"{kind}.storage.replication.factor"] = 1
        (home / "worker.properties").write_text("".join(f"{n}={v}\n" for n, v in settings.items()))

    def start(self) -> None:
        """Start it and return once it answers."""
        command = [java(), *_OPTIONS, "-cp", class_path(POM)]
        command += ["org.apache.kafka.connect.cli.ConnectDistributed", str(self._home / "worker.properties")]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                preexec_fn=partial(die_with_parent, signal.SIGTERM),
            )
        deadline = time.monotonic() + STARTS_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise CannotRun(f"Kafka Connect doesn't start: {self._said()}")
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL it; what it had told Kafka is still there for the next start."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(_STOPS_WITHIN)

    def register(self, name: str, config: Mapping[str, str]) -> None:
        """Have a connector of that name, configured so."""
        self._call("PUT", f"/connectors/{name}/config", config)

    def states(self, name: str) -> list[str]:
        """Return the states of a connector and its tasks, as RUNNING or FAILED; none while it isn't known."""
        try:
            status = self._call("GET", f"/connectors/{name}/status")
        except urllib.error.HTTPError as error:
            if error.code in (404, 409):
                return []
            raise
        return [status["connector"]["state"], *(task["state"] for task in status["tasks"])]

    def _answers(self) -> bool:
        try:
            self._call("GET", "/connectors")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - our own worker
            self._url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read())

    def _said(self) -> str:
        return (self._home / "log").read_text(errors="replace")[-2_000:]


@contextlib.contextmanager
def connect_worker(bootstrap: str) -> Iterator[Connect]:
    """Have a worker for the time of a block, started. Raises CannotRun, saying why, where none can."""
    home = Path(tempfile.mkdtemp(prefix="handfast-connect-"))
    try:
        running = Connect(home, bootstrap)
        try:
            running.start()
            yield running
        finally:
            running.kill()
    finally:
        shutil.rmtree(home, ignore_errors=True)
