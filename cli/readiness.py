"""Is a stack ready? Asked of every program's /readyz until all say yes; then the sample data goes in."""

import asyncio
from collections.abc import Callable, Mapping

import httpx

from cli.datadir import DataDirectory
from cli.outcome import OutOfReach
from cli.samples import put_samples

READY_WITHIN = 60.0
"""Seconds after which a stack that isn't ready is given up (it takes about five)."""


async def wait_until_ready(
    urls: Mapping[str, str], announce: Callable[[str], None], auth: httpx.Auth | None = None
) -> None:
    """Return once all programs are ready; raise OutOfReach, saying what keeps them, if they don't get there.

    urls: by name of program, each without a slash at its end; auth: adds the token, if one is needed.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + READY_WITHIN
    waiting = dict.fromkeys(urls, "not asked yet")
    async with _client(auth) as client:
        while waiting:
            problems = await asyncio.gather(*(_problem(client, urls[name]) for name in waiting))
            answers = dict(zip(waiting, problems, strict=True))
            for name in [name for name, problem in answers.items() if problem is None]:
                announce(f"{name} is up")
            waiting = {name: problem for name, problem in answers.items() if problem is not None}
            if waiting and loop.time() > deadline:
                reasons = "; ".join(f"{name}: {problem}" for name, problem in waiting.items())
                raise OutOfReach(f"not all programs came up within {READY_WITHIN:.0f} s: {reasons}")
            if waiting:
                await asyncio.sleep(0.1)


async def ensure_samples(
    directory: DataDirectory, stock_url: str, payment_url: str, auth: httpx.Auth | None = None
) -> bool:
    """Put the sample data into a new data directory; return whether it was new."""
    if directory.has_samples:
        return False
    async with _client(auth) as client:
        directory.note_samples(await put_samples(client, stock_url, payment_url))
    return True


def _client(auth: httpx.Auth | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, timeout=5.0, auth=auth)


async def _problem(client: httpx.AsyncClient, url: str) -> str | None:
    """Say what keeps a program from being ready: None where nothing does."""
    try:
        answer = await client.get(f"{url}/readyz")
    except httpx.TransportError as failure:
        return f"doesn't answer ({type(failure).__name__})"
    return None if answer.status_code == httpx.codes.OK else answer.text[:500]
