"""The server as a process: it stops cleanly, keeps connections, and bounds what comes in over a socket."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.integration.http.conftest import Served, free_offset, start


def connection(served: Served) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)


def test_requests_share_a_connection(served: Served) -> None:
    client = connection(served)
    for number in range(3):
        client.request("PUT", f"/api/v1/orders/{number}")
        answer = client.getresponse()
        assert answer.status == 204
        assert answer.read() == b""
        assert client.sock is not None
    client.close()


def test_a_body_over_the_limit_is_refused_and_the_connection_goes_on(served: Served) -> None:
    client = connection(served)
    client.request("POST", "/api/v1/orders", b" " * 200_000, {"Content-Type": "application/json"})
    answer = client.getresponse()
    assert answer.status == 413
    assert answer.getheader("content-type") == "application/problem+json"
    answer.read()
    client.request("GET", "/livez")
    assert client.getresponse().status == 200
    client.close()


def test_a_body_in_chunks_over_the_limit_is_refused(served: Served) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1_000

    client = connection(served)
    headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    client.request("POST", "/api/v1/orders", chunks(), headers, encode_chunked=True)
    assert client.getresponse().status == 413
    client.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\x16\x03\x01\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"POST /api/v1/orders HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/orders HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        b"GET /livez HTTP/1.1\r\nX: " + b"a" * 200_000,
    ],
)
def test_garbage_on_the_socket_harms_nobody(served: Served, garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as raw:
        raw.sendall(garbage)
        raw.shutdown(socket.SHUT_WR)
        try:
            told = raw.recv(65_536)
        except ConnectionResetError:
            told = b""
    assert not told.startswith(b"HTTP/1.1 5")
    client = connection(served)
    client.request("GET", "/livez")
    assert client.getresponse().status == 200
    client.close()


def test_a_client_that_leaves_in_the_middle_harms_nobody(served: Served) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as raw:
            raw.sendall(
                b"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b'Content-Length: 1000\r\n\r\n{"orderId":'
            )
    client = connection(served)
    client.request("POST", "/api/v1/orders", b"{}", {"Content-Type": "application/json"})
    assert client.getresponse().status == 201
    client.close()


def test_the_server_does_not_tell_what_it_is(served: Served) -> None:
    client = connection(served)
    client.request("GET", "/livez")
    assert client.getresponse().getheader("server") is None
    client.close()


@pytest.mark.parametrize("signal_sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_program_cleanly(signal_sent: signal.Signals) -> None:
    served = start()
    client = connection(served)
    client.request("GET", "/livez")
    client.getresponse().read()
    began = time.monotonic()
    served.process.send_signal(signal_sent)
    out, err = served.process.communicate(timeout=15)
    # A connection that is kept alive doesn't hold it up.
    assert time.monotonic() - began < 8
    assert served.process.returncode == 0, err
    assert out.split() == ["started", "stopped"]
    assert "Traceback" not in err
    client.close()


def test_a_request_under_way_is_answered_before_the_program_stops() -> None:
    served = start(HANDFAST_TEST_SLOW="0.5")
    status: list[int] = []

    def place() -> None:
        client = connection(served)
        client.request("POST", "/api/v1/orders", b"{}", {"Content-Type": "application/json"})
        status.append(client.getresponse().status)
        client.close()

    asking = threading.Thread(target=place)
    asking.start()
    _wait_until_busy(served)
    served.process.send_signal(signal.SIGTERM)
    asking.join(timeout=15)
    served.process.communicate(timeout=15)
    assert status == [201]
    assert served.process.returncode == 0


def test_a_request_that_outlasts_the_stop_is_told_that_nobody_knows() -> None:
    """It waits for somebody who is away: no fault of this program, and nothing to be alarmed about."""
    served = start(HANDFAST_TEST_SLOW="60")
    answers: list[tuple[int, str | None, str | None, bytes]] = []

    def place() -> None:
        client = connection(served)
        client.request("POST", "/api/v1/orders", b"{}", {"Content-Type": "application/json"})
        answer = client.getresponse()
        answers.append(
            (answer.status, answer.getheader("content-type"), answer.getheader("retry-after"), answer.read())
        )
        client.close()

    asking = threading.Thread(target=place)
    asking.start()
    _wait_until_busy(served)
    served.process.send_signal(signal.SIGTERM)
    asking.join(timeout=15)
    _, err = served.process.communicate(timeout=15)
    [(status, content_type, retry_after, body)] = answers
    assert (status, content_type, retry_after) == (503, "application/problem+json", "1")
    assert json.loads(body)["type"] == "urn:handfast:problem:stopping"
    assert served.process.returncode == 0
    assert [line for line in err.splitlines() if json.loads(line)["level"] == "ERROR"] == []


def _wait_until_busy(served: Served) -> None:
    assert served.process.stdout is not None
    for line in served.process.stdout:
        if line.strip() == "busy":
            return
    raise AssertionError("no request arrived")


@pytest.mark.parametrize(
    ("setting", "message", "traced"),
    [
        ("HANDFAST_TEST_REFUSES", "Startup can't go on: Run `handfast db upgrade`.", False),
        ("HANDFAST_TEST_CRASHES", "Startup failed", True),
    ],
)
def test_a_program_that_cant_start_says_why_and_ends(setting: str, message: str, traced: bool) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "tests.integration.http.program"],
        env={setting: "1", "HANDFAST_PORT_OFFSET": str(free_offset()), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert refused.returncode > 0
    open_to_all, first = map(json.loads, refused.stderr.splitlines()[:2])
    assert open_to_all["message"].startswith("No authentication: ")
    assert first["message"] == message
    assert ("exception" in first) is traced
    assert ("ZeroDivisionError" in refused.stderr) is traced


def test_a_port_that_is_taken_ends_the_program_with_an_error(served: Served) -> None:
    taken = subprocess.run(
        [sys.executable, "-m", "tests.integration.http.program"],
        env={"HANDFAST_PORT_OFFSET": str(served.port - 8887), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert taken.returncode > 0
    logged = [json.loads(line) for line in taken.stderr.splitlines()]
    assert any("address already in use" in line["message"] for line in logged)
