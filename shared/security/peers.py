"""Calls to the other programs and to participants, each with this program's own token."""

import asyncio
from collections.abc import Mapping

from shared.errors import Unreachable
from shared.http.caller import Caller, Reply
from shared.http.problems import PROBLEM_TYPE
from shared.security.credentials import Tokens


class PeerCaller:
    """A Caller that adds a token. Never to be used for anybody but peers: whoever is called reads it.

    That a token is not taken says nothing of what was asked for: such an answer counts as none.
    """

    def __init__(self, caller: Caller, tokens: Tokens) -> None:
        self._caller = caller
        self._tokens = tokens

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float,  # noqa: ASYNC109 - the port's signature
    ) -> Reply:
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        token = await self._token(timeout)
        for attempt in (1, 2):
            reply = await self._caller.call(
                method,
                url,
                headers={**(headers or {}), "authorization": f"Bearer {token}"},
                body=body,
                timeout=max(end - loop.time(), 0.001),
            )
            if reply.status != 401:
                break
            self._tokens.refused(token)
            if attempt == 1:
                token = await self._token(max(end - loop.time(), 0.001))
        if reply.status == 401 or (reply.status == 403 and _is_forbidden(reply)):
            raise Unreachable(f"{method} {url} doesn't take this program's token ({reply.status}).")
        return reply

    async def close(self) -> None:
        await self._caller.close()

    async def _token(self, seconds: float) -> str:
        try:
            async with asyncio.timeout(seconds):
                return await self._tokens.token()
        except TimeoutError:
            raise Unreachable("No token of its own could be had in time.") from None


def _is_forbidden(reply: Reply) -> bool:
    """Say whether it is the caller who may not, and not the branch that is refused."""
    try:
        document = reply.json()
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("type") == f"{PROBLEM_TYPE}forbidden"
