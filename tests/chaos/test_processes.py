"""Whoever is paused runs again afterwards, whatever happens meanwhile."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import psutil
import pytest

from cli.datadir import started_at
from tests.chaos.plan import Kind, Trouble
from tests.chaos.processes import Processes
from tests.chaos.proxy import Proxy, listeners
from tests.chaos.turmoil import Turmoil
from tests.e2e.waiting import eventually

STOPPED = (psutil.STATUS_STOPPED,)


@pytest.fixture
def idle() -> Iterator["subprocess.Popen[bytes]"]:
    """A process of its own, which waits until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    yield process
    process.kill()
    process.wait()


def one_process(process: "subprocess.Popen[bytes]") -> Processes:
    noted: Mapping[str, Mapping[str, Any]] = {
        "stock": {"pid": process.pid, "startedAt": started_at(process.pid)}
    }
    return Processes(lambda: noted)


def is_stopped(process: "subprocess.Popen[bytes]") -> bool:
    return psutil.Process(process.pid).status() in STOPPED


def test_a_pause_ends_though_what_went_on_meanwhile_failed(idle: "subprocess.Popen[bytes]") -> None:
    def fail_while_paused() -> None:
        with one_process(idle).paused("stock"):
            eventually(lambda: is_stopped(idle), "it is stopped")
            raise RuntimeError("went wrong")

    with pytest.raises(RuntimeError, match="went wrong"):
        fail_while_paused()
    eventually(lambda: not is_stopped(idle), "it goes on")


def test_overlapping_pauses_last_as_long_as_the_longer_one(idle: "subprocess.Popen[bytes]") -> None:
    processes = one_process(idle)
    with processes.paused("stock"):
        with processes.paused("stock"):
            eventually(lambda: is_stopped(idle), "it is stopped")
        assert is_stopped(idle)
    eventually(lambda: not is_stopped(idle), "it goes on")


async def test_troubles_that_are_broken_off_leave_nothing_behind(idle: "subprocess.Popen[bytes]") -> None:
    plan = [Trouble(Kind.PAUSE, "stock", 0.0, 60.0), Trouble(Kind.DROP, "stock", 0.0, 60.0)]
    with listeners(["stock"]) as listening:
        # The proxy stands before itself: what it passes on doesn't matter here.
        proxy = Proxy(listening["stock"], listening["stock"].getsockname(), random.Random(1))
        turmoil = Turmoil(one_process(idle), {"stock": proxy}, plan, lambda _: None)
        running = asyncio.create_task(turmoil.run())
        await asyncio.to_thread(eventually, lambda: is_stopped(idle), "it is stopped")
        assert not proxy.is_calm()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert proxy.is_calm()
    await asyncio.to_thread(eventually, lambda: not is_stopped(idle), "it goes on")
    assert turmoil.whole_pauses == 0


def test_a_process_that_has_gone_gets_no_signal(idle: "subprocess.Popen[bytes]") -> None:
    processes = one_process(idle)
    assert processes.end("stock", signal.SIGKILL)
    idle.wait()
    assert not processes.end("stock", signal.SIGKILL)
    assert not processes.end("unheard-of", signal.SIGKILL)
    with processes.paused("stock") as process:
        assert process is None
    assert processes.sent == {"stock": 1}
