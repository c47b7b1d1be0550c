"""A program that serves the tests' shop until it is told to stop; run it as a module."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from shared.errors import DatabaseUnavailable
from shared.http.server import run_program
from shared.settings import Settings
from tests.unit.http.shop import Shop


def _tell(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


@asynccontextmanager
async def _lifespan(_api: FastAPI) -> AsyncIterator[None]:
    if os.environ.get("HANDFAST_TEST_REFUSES"):
        raise DatabaseUnavailable("Run `handfast db upgrade`.")
    if os.environ.get("HANDFAST_TEST_CRASHES"):
        raise ZeroDivisionError("by nought")
    _tell("started")
    yield
    _tell("stopped")


class SlowShop(Shop):
    """Tells when it works on a request, and takes its time."""

    async def work(self) -> None:
        _tell("busy")
        await asyncio.sleep(float(os.environ.get("HANDFAST_TEST_SLOW", "0")))


if __name__ == "__main__":
    settings = Settings(_env_file=None)
    run_program("order", settings, lambda: SlowShop(settings, lifespan=_lifespan).api)
