"""The Caller over sockets: one aiohttp session a program, kept alive, bounded in every direction."""

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from shared.errors import Unreachable
from shared.http.caller import MAX_REPLY_BYTES, Reply
from shared.telemetry import current_traceparent

# Below what servers keep an idle connection (uvicorn as we run it: 75 s), so that a request hardly ever meets
# a connection that is just being closed.
KEEP_ALIVE_SECONDS: Final = 30
_UNSENT: Final[CIMultiDict[None]] = CIMultiDict({"Content-Type": None})


class AiohttpCaller:
    """A Caller. max_connections: at once, to each host; who comes later waits within its timeout. One that
    never answers so keeps nobody from the others.

    Only a connection that was lost before a PUT, DELETE or GET was answered is replaced once, by aiohttp
    itself; to repeat those changes nothing.
    """

    def __init__(self, *, max_connections: int = 256, max_reply_bytes: int = MAX_REPLY_BYTES) -> None:
        self._max_connections = max_connections
        self._max_reply_bytes = max_reply_bytes
        self._session: aiohttp.ClientSession | None = None

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float,  # noqa: ASYNC109 - the port's signature
    ) -> Reply:
        session = self._session or self._open()
        sent = dict(headers) if headers else {}
        traceparent = current_traceparent()
        if traceparent is not None:
            sent.setdefault("traceparent", traceparent)
        if body is not None:
            sent.setdefault("content-type", "application/json")
        try:
            async with asyncio.timeout(timeout):
                # An answer that is read to its end has given its connection back: no `async with` for that.
                response = await session.request(
                    method, URL(url, encoded=True), headers=sent, data=body, allow_redirects=False
                )
                try:
                    content = await self._read(response)
                except BaseException:
                    response.close()
                    raise
        except TimeoutError as error:
            raise Unreachable(f"{method} {url} was not answered within {timeout:g} s.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable(f"{method} {url} got no answer: {type(error).__name__}: {error}") from error
        return Reply(response.status, response.headers, content)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, limit_per_host=self._max_connections, keepalive_timeout=KEEP_ALIVE_SECONDS
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),  # None at all: each call is bounded as a whole.
            request_class=_Request,
            auto_decompress=False,
            trust_env=False,
        )
        return self._session

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """Read the whole body; raise ValueError once it is larger than we take."""
        content, most = response.content, self._max_reply_bytes
        if content.is_eof():
            # As a rule the body came along with the head.
            body = content.read_nowait()
            if len(body) <= most:
                return body
        elif (response.content_length or 0) <= most:
            chunks: list[bytes] = []
            left = most
            while left >= 0:
                chunk = await content.readany()
                if not chunk:
                    return b"".join(chunks)
                chunks.append(chunk)
                left -= len(chunk)
        raise ValueError(f"the answer is larger than {self._max_reply_bytes} bytes")


class _Request(aiohttp.ClientRequest):
    """A request with the headers that it is given and no others.

    aiohttp's own `skip_auto_headers` does the same, but sorts and copies headers for every request (3 µs).
    """

    def update_auto_headers(self, _skipped: object) -> None:
        self._skip_auto_headers = _UNSENT
