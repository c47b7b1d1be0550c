"""The server: uvicorn on httptools, without an access log, stopped within a few seconds of SIGTERM.

Where several instances share a program's port, whoever started them has bound it. All accept from the one
queue of that socket, so one that stops, or stands still, takes no waiting connection with it. Each listens at
a port of its own besides, where it can be asked how it is.
"""

import asyncio
import gc
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from shared.http.sockets import BACKLOG, ListeningSocket, bound
from shared.settings import Settings
from shared.telemetry import configure_logging

KEEP_ALIVE_SECONDS: Final = 75
STOP_SECONDS: Final = 1
"""Time that requests under way have to end once the program is to stop; `handfast up` gives it two in all."""
ANSWER_SECONDS: Final = 1
"""Time after that to tell those who still wait."""
GARBAGE_THRESHOLD: Final = 20_000
"""New objects that may gather before the collector looks for cycles among them (Python's own: 700)."""

_log = logging.getLogger(__name__)


async def serve(app: FastAPI, host: str, port: int, sockets: Sequence[socket.socket] | None = None) -> bool:
    """Serve until SIGTERM or SIGINT; return whether the start succeeded.

    sockets: what to listen on instead of host and port. Requests under way get STOP_SECONDS to end, and those
    that don't are answered by the guard; then the application's lifespan stops everything else.
    """
    server = _Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http="httptools",
            loop="asyncio",
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS + ANSWER_SECONDS,
            # With sockets, this is how many connections are accepted in one go: see sockets.py.
            backlog=BACKLOG if sockets is None else 1,
        )
    )
    await server.serve(None if sockets is None else list(sockets))
    return server.started


def run_program(program: str, settings: Settings, create: Callable[[], FastAPI]) -> None:
    """Run a program (a key of `PORTS`) on its port until it is told to stop; exit 1 where it can't start."""
    configure_logging(settings, settings.named(program))
    app = create()
    settle_garbage()
    try:
        sockets = None if settings.listen_fd is None else listening(settings, program, settings.listen_fd)
    except OSError as error:
        _log.error("It can't listen at port %d: %s", settings.own_port(program), error)
        sys.exit(1)
    if not asyncio.run(serve(app, settings.host, settings.port(program), sockets)):
        sys.exit(1)


def listening(settings: Settings, program: str, shared: int) -> Sequence[socket.socket]:
    """Return what an instance listens on: the descriptor that it shares, and a port of its own."""
    return ListeningSocket(fileno=shared), bound(settings.host, settings.own_port(program))


def settle_garbage() -> None:
    """Keep the collector from walking, again and again, over what start-up made and nobody will drop.

    Measured on a whole order: 5 to 8 % less CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        # Uvicorn would raise the signal again after its end, so that a clean stop looked like a crash.
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Uvicorn would answer 500 to whoever waits too long, and log an error with a stack trace for each.
        ending = asyncio.get_running_loop().call_later(STOP_SECONDS, self._end_requests)
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    def _end_requests(self) -> None:
        app = self.config.app
        assert isinstance(app, FastAPI)
        app.state.stopping = True
        for task in self.server_state.tasks:
            task.cancel()
