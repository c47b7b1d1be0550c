"""The port to whoever keeps a record of what operators do; without one, nothing is recorded."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response


class Recorder(Protocol):
    """Keeps the record of acts."""

    async def record(
        self,
        request: Request,
        act: str,
        *,
        reasoned: bool,
        reason: str | None,
        work: Callable[[], Awaitable[Response]],
    ) -> Response:
        """Put an act on record and do it; reasoned: whether the request has a place for a reason."""
        ...


def recorder_of(request: Request) -> Recorder | None:
    """Return the recorder that a request's application was given, if any."""
    recorder: Recorder | None = getattr(request.app.state, "recorder", None)
    return recorder
