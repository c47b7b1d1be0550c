"""The Caller without sockets: applications in this process, called over httpx's ASGI transport.

For tests and the simulator. As over a network, an application goes on with a request whose caller has stopped
waiting for the answer.
"""

import asyncio
from collections.abc import Mapping

import httpx
from starlette.types import ASGIApp

from shared.errors import Unreachable
from shared.http.caller import MAX_REPLY_BYTES, Reply
from shared.telemetry import current_traceparent


class AsgiCaller:
    """A Caller to applications by their origin: `AsgiCaller({"http://stock.test": app})`.

    Their lifespans are the test's to run. An origin that is not named, or was taken out, is unreachable.
    """

    def __init__(self, apps: Mapping[str, ASGIApp], *, max_reply_bytes: int = MAX_REPLY_BYTES) -> None:
        self.apps = dict(apps)
        self._max_reply_bytes = max_reply_bytes
        self._tasks: set[asyncio.Task[httpx.Response]] = set()

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float,  # noqa: ASYNC109 - the port's signature
    ) -> Reply:
        target = httpx.URL(url)
        app = self.apps.get(f"{target.scheme}://{target.netloc.decode()}")
        if app is None:
            raise Unreachable(f"{method} {url} got no answer: nothing listens there.")
        task = asyncio.ensure_future(serve(app, request_of(method, target, headers, body)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait((task,), timeout=timeout)
        if not task.done():
            raise Unreachable(f"{method} {url} was not answered within {timeout:g} s.")
        response = task.result()
        if len(response.content) > self._max_reply_bytes:
            raise Unreachable(f"{method} {url}: the answer is larger than {self._max_reply_bytes} bytes.")
        return Reply(response.status_code, dict(response.headers), response.content)

    async def close(self) -> None:
        """Cancel what nobody waits for any more, and wait until it has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def request_of(
    method: str, url: httpx.URL | str, headers: Mapping[str, str] | None, body: bytes | None
) -> httpx.Request:
    """Return a request as every Caller sends it: of the trace at hand, its body taken for JSON."""
    sent = httpx.Headers(dict(headers) if headers else None)
    traceparent = current_traceparent()
    if traceparent is not None:
        sent.setdefault("traceparent", traceparent)
    if body is not None:
        sent.setdefault("content-type", "application/json")
    return httpx.Request(method, url, headers=sent, content=body)


async def serve(app: ASGIApp, request: httpx.Request) -> httpx.Response:
    """Have an application answer a request, to its last byte."""
    # A crash of the application is a 500 to its caller, as it would be over a socket.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    response = await transport.handle_async_request(request)
    await response.aread()
    return response
