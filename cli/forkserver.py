"""The fork server: one Python that imported what every program needs, and forks a program when asked.

`python -m cli.forkserver` reads requests from stdin and writes events to stdout, a JSON object a line each:

    {"name": "stock_service", "module": "stock_service.app", "log": "/…", "environment": {"HANDFAST_…": "…"}}
    {"event": "started", "name": "stock_service", "pid": 4711}
    {"event": "exited", "name": "stock_service", "pid": 4711, "status": -9}

Importing the frameworks costs more than two seconds of CPU a process; here it is paid once, a program is back
20 ms after a crash, and the four share the pages. Nothing but modules is loaded before a fork: no thread,
no event loop, no connection. It ends when stdin does, and its programs with it.
"""

import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import shared
from cli.lifeline import die_with_parent, name_process, watch

FRAMEWORKS = (
    "aiohttp",
    "aiokafka",
    "aiokafka.admin",
    "aiosqlite",
    "fastapi",
    "fastapi.openapi.docs",
    "prometheus_client",
    "pydantic_settings",
    "sqlalchemy.ext.asyncio",
    "sqlmodel",
    "tenacity",
    "ulid",
    "uvicorn",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.httptools_impl",
)

NOT_FOR_PROGRAMS = frozenset({"shared.http.asgi_caller", "shared.database.inline", "shared.messaging.memory"})
"""What only tests use. Nor are migrations modules of a program: they are scripts that Alembic loads."""


@dataclass(frozen=True, slots=True)
class Request:
    """A program to run. log: the file that its output is added to; environment: added to the server's own."""

    name: str
    module: str
    log: str
    environment: dict[str, str]


def main() -> None:
    """Serve until stdin ends; in a forked child: be the program that was asked for."""
    events = os.dup(1)
    os.dup2(2, 1)
    preload()
    request = ForkServer(0, events).serve()
    if request is not None:
        run(request)


def preload() -> None:
    """Import the frameworks and everything shared, and keep the garbage collector off their pages."""
    gc.disable()
    for name in (*FRAMEWORKS, *_modules_of(shared)):
        try:
            importlib.import_module(name)
        except ImportError:
            # A program that needs it fails by itself and says so; one that doesn't may well run.
            traceback.print_exc()
    gc.collect()
    gc.freeze()
    gc.enable()


class ForkServer:
    """Forks, reaps and tells."""

    def __init__(self, requests: int, events: int) -> None:
        self._requests = requests
        self._events = events
        self._pid = os.getpid()
        self._names: dict[int, str] = {}
        self._lifeline, self._held_open = os.pipe()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._rest = b""

    def serve(self) -> Request | None:
        """Serve until the requests end (None); returns in a forked child too, with its request."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fd == self._woken:
                        os.read(self._woken, 4096)
                        self._reap()
                        continue
                    chunk = os.read(self._requests, 65536)
                    if not chunk:
                        return None
                    for request in self._requests_in(chunk):
                        if self._fork(request):
                            return request

    def _requests_in(self, chunk: bytes) -> Iterator[Request]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield Request(**json.loads(line))

    def _fork(self, request: Request) -> bool:
        """Fork; return whether this is the child."""
        pid = os.fork()
        if pid == 0:
            self._become_child()
            return True
        self._names[pid] = request.name
        self._tell(event="started", name=request.name, pid=pid)
        return False

    def _become_child(self) -> None:
        die_with_parent()
        if os.getppid() != self._pid:  # The server died before the kernel was asked.
            os._exit(1)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in (self._held_open, self._woken, self._wake, self._events):
            os.close(descriptor)
        watch(self._lifeline)

    def _reap(self) -> None:
        while self._names:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            name = self._names.pop(pid, "")
            self._tell(event="exited", name=name, pid=pid, status=os.waitstatus_to_exitcode(status))

    def _tell(self, **event: Any) -> None:
        os.write(self._events, json.dumps(event).encode() + b"\n")


def run(request: Request) -> None:
    """Be a program: its own output, environment and name, then its main()."""
    log = os.open(request.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(nothing)
    os.close(log)
    os.environ.update(request.environment)
    sys.argv = [request.module]
    name_process(request.name)
    importlib.import_module(request.module).main()


def _modules_of(package: Any) -> Iterator[str]:
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if ".migrations." not in module.name and module.name not in NOT_FOR_PROGRAMS:
            yield module.name


if __name__ == "__main__":
    main()
