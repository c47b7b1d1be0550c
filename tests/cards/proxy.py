"""An HTTP proxy before the stand-in for Stripe: passes requests on, and keeps answers back when told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

LONGEST = 60.0
"""Seconds for which an answer is kept back at most."""


class Withheld:
    """Answers to one kind of request. arrived: set once one was acted upon; released: set to let them go."""

    def __init__(self, last_word: str) -> None:
        self.last_word = last_word
        self.arrived = threading.Event()
        self.released = threading.Event()


class StripeProxy:
    """A running proxy."""

    def __init__(self, target: str) -> None:
        self._target = httpx.Client(base_url=target, trust_env=False)
        self._withheld: Withheld | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def withhold(self, last_word: str) -> Iterator[Withheld]:
        """For the time of a block, keep back the answer to every POST whose path ends in a word."""
        self._withheld = withheld = Withheld(last_word)
        try:
            yield withheld
        finally:
            self._withheld = None
            withheld.released.set()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._target.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy._pass_on(self)

            def do_POST(self) -> None:
                proxy._pass_on(self)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def _pass_on(self, asked: BaseHTTPRequestHandler) -> None:
        body = asked.rfile.read(int(asked.headers.get("content-length", 0)))
        names = ("authorization", "content-type", "idempotency-key")
        headers = {name: asked.headers[name] for name in names if name in asked.headers}
        answer = self._target.request(asked.command, asked.path, headers=headers, content=body)
        withheld = self._withheld
        if withheld is not None and asked.command == "POST" and asked.path.endswith(withheld.last_word):
            withheld.arrived.set()
            withheld.released.wait(LONGEST)
        try:
            asked.send_response(answer.status_code)
            asked.send_header("content-type", "application/json")
            asked.send_header("content-length", str(len(answer.content)))
            asked.end_headers()
            asked.wfile.write(answer.content)
        except (BrokenPipeError, ConnectionResetError):
            asked.close_connection = True  # Whoever asked has given up, or is dead.


@contextmanager
def stripe_proxy(target: str) -> Iterator[StripeProxy]:
    """Have a proxy for the time of a block."""
    proxy = StripeProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
