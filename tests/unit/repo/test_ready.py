"""The image's health check says what the program in its container says."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from infra import ready


@contextmanager
def program(status: int) -> Iterator[int]:
    """Have a program whose /readyz answers so, and yield its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(b'{"status":"..."}')

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_it_is_healthy_when_the_program_is_ready(
    status: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as unused:
        silent = unused.server_port
    with program(status) as port:
        monkeypatch.setattr(ready, "PORTS", (silent, port))
        assert ready.main() == code
    assert f"{port}: {status}" in capsys.readouterr().out


def test_it_is_not_healthy_when_nothing_listens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as unused:
        silent = unused.server_port
    monkeypatch.setattr(ready, "PORTS", (silent,))
    assert ready.main() == 1
    assert "nothing listens" in capsys.readouterr().out
