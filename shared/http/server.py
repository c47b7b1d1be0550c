"""The server: uvicorn on httptools, without an access log, stopped within a few seconds of SIGTERM."""

import asyncio
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from shared.settings import Settings
from shared.telemetry import configure_logging

KEEP_ALIVE_SECONDS: Final = 75
STOP_SECONDS: Final = 3


async def serve(app: FastAPI, host: str, port: int) -> bool:
    """Serve until SIGTERM or SIGINT; return whether the start succeeded.

    Requests under way get STOP_SECONDS to end; then the application's lifespan stops everything else.
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
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    )
    await server.serve()
    return server.started


def run_program(program: str, settings: Settings, create: Callable[[], FastAPI]) -> None:
    """Run a program (a key of `PORTS`) on its port until it is told to stop; exit 1 where it can't start."""
    configure_logging(settings, program)
    if not asyncio.run(serve(create(), settings.host, settings.port(program))):
        sys.exit(1)


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        # Uvicorn would raise the signal again after its end, so that a clean stop looked like a crash.
        self.force_exit = self.should_exit
        self.should_exit = True
