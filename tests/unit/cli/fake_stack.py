"""A stand-in for the four programs: answers what a test has prepared, and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Reply = tuple[int, Any]
Answer = Reply | Callable[["Asked"], Reply]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that came. what: "POST order/orders", without /api/v1; queries: with all that is repeated."""

    what: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    queries: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class FakeStack:
    """The answers, by "METHOD program/path", and the requests so far."""

    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        programs = ("coordinator", "order", "stock", "payment")
        return {f"HANDFAST_{name.upper()}_URL": f"{self.url}/{name}" for name in programs}

    def reply(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        answer = self.answers.get(asked.what)
        if answer is None and asked.what.endswith("/dead-letters"):
            return 200, {"items": [], "nextCursor": None}
        if answer is None:
            return 404, problem("not-found", 404, f"nothing at {asked.what}")
        return answer(asked) if callable(answer) else answer

    def requests(self, method: str) -> list[str]:
        return [asked.what for asked in self.asked if asked.what.startswith(method)]


def problem(slug: str, status: int, detail: str) -> dict[str, Any]:
    return {"type": f"urn:handfast:problem:{slug}", "title": slug, "status": status, "detail": detail}


@contextmanager
def serving() -> Iterator[FakeStack]:
    """Serve a fake stack on a free port for the time of a block."""
    fake = FakeStack()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            sent = self.rfile.read(length)
            asked = Asked(
                what=f"{self.command} {unquote(parts.path.replace('/api/v1', '', 1).lstrip('/'))}",
                query={name: values[0] for name, values in parse_qs(parts.query).items()},
                queries=parse_qs(parts.query),
                headers={name.lower(): value for name, value in self.headers.items()},
                body=json.loads(sent) if sent else None,
            )
            status, body = fake.reply(asked)
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - as http.server wants it

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
