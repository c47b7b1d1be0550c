"""Requests as bytes on a socket: whatever a client library would refuse to send, or would mend silently."""

import http.client
import json
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Headers = Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]]

PROBLEM: Final = "application/problem+json"
ANSWER_SECONDS: Final = 40.0


@dataclass(frozen=True)
class Answer:
    """What came back. headers: names in lower case, the last of repeated ones."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def slug(self) -> str:
        """The problem's slug; fails where the answer is no problem, or not a whole one."""
        assert self.headers.get("content-type") == PROBLEM, self
        problem = self.json()
        assert problem["status"] == self.status, self
        assert problem["title"], self
        assert problem["detail"], self
        assert "Traceback" not in problem["detail"], self
        name: str = problem["type"]
        assert name.startswith("urn:handfast:problem:"), self
        return name.removeprefix("urn:handfast:problem:")

    @property
    def told(self) -> tuple[int, str]:
        """The status, and the slug where the answer is a problem (else an empty string)."""
        return self.status, self.slug if self.status >= 400 else ""


def exchange(
    port: int,
    method: str,
    target: str,
    body: Any = None,
    headers: Headers = (),
    *,
    chunks: Iterable[bytes] | None = None,
) -> Answer:
    """Send one request on a connection of its own and return the answer.

    body: bytes as they are, anything else as JSON; chunks: the body in chunked coding instead. Content-Type
    and Content-Length are added unless they are given; an empty one given is left out.
    """
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    given = {name.lower() for name, _ in pairs}
    added: list[tuple[str, str | bytes]] = [("Host", "handfast.test")]
    if (content is not None or chunks is not None) and "content-type" not in given:
        added.append(("Content-Type", "application/json"))
    if chunks is not None:
        added.append(("Transfer-Encoding", "chunked"))
    elif content is not None and "content-length" not in given:
        added.append(("Content-Length", str(len(content))))
    lines = [f"{method} {target} HTTP/1.1".encode("latin-1")]
    lines += [name.encode("latin-1") + b": " + _bytes(value) for name, value in (*added, *pairs) if value]
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    return raw(port, method, head, [content or b""] if chunks is None else _chunked(chunks))


def raw(port: int, method: str, head: bytes, parts: Iterable[bytes] = ()) -> Answer:
    """Send bytes and read one answer. A server that has answered need not read the rest of a body."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as connection:
        connection.sendall(head)
        try:
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # It has said what it had to say; the answer is read below.
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        try:
            read = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, read, response.read())
        finally:
            response.close()


def _chunked(chunks: Iterable[bytes]) -> Iterable[bytes]:
    for chunk in chunks:
        yield b"%x\r\n%b\r\n" % (len(chunk), chunk)
    yield b"0\r\n\r\n"


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")
