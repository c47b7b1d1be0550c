"""The outgoing HTTP port: one small interface, so that tests and the simulator bring their own transport."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import pydantic_core

MAX_REPLY_BYTES: Final = 1024 * 1024
"""The largest body of an answer that a caller takes unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that arrived. headers: asked for in lower case; body: at most the caller's limit in bytes."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        """Decode the body; raise ValueError where it is no JSON."""
        return pydantic_core.from_json(self.body)


class Caller(Protocol):
    """Sends one request and waits for its answer; retries nothing and follows no redirect."""

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float,  # noqa: ASYNC109 - a bound on the whole exchange, in seconds, is part of every call
    ) -> Reply:
        """Return the answer, whatever its status; raise Unreachable where none came within timeout."""
        ...

    async def close(self) -> None:
        """Give back the connections."""
        ...
