"""How customers reach a stack of real processes."""

from collections.abc import Mapping
from typing import Any

import aiohttp

from shared.settings import Settings
from tests.customers import Send, UncertainError


def line_to(settings: Settings, session: aiohttp.ClientSession) -> Send:
    """Return what sends customers' requests to the stack that those settings describe."""

    async def send(
        method: str, program: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[int, str]:
        url = f"{settings.url(program)}/api/v1{path}"
        try:
            async with session.request(method, url, json=body, headers=headers) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UncertainError(repr(error)) from error

    return send


async def is_ready(settings: Settings, program: str) -> bool:
    """Ask a program whether it is ready."""
    return await answers_ready(settings.url(program))


async def answers_ready(url: str) -> bool:
    """Ask whoever has that base URL whether it is ready."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
