import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from shared.settings import PORTS


@dataclass
class Served:
    """A running program."""

    process: subprocess.Popen[str]
    url: str
    port: int


def free_offset() -> int:
    """Return a port offset at which the order service's port is free."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    return port - PORTS["order"]


def start(**settings: str) -> Served:
    offset = free_offset()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.http.program"],
        env={**os.environ, "HANDFAST_PORT_OFFSET": str(offset), **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    port = PORTS["order"] + offset
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return Served(process, f"http://127.0.0.1:{port}", port)
    process.kill()
    raise AssertionError(f"the program did not start: {process.communicate()}")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A program over which a module's tests go."""
    running = start()
    yield running
    running.process.send_signal(signal.SIGTERM)
    running.process.communicate(timeout=15)
