"""The server's end: it drains after SIGTERM and loses no request; SIGINT is for those in a hurry."""

import http.client
import json
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.http.conftest import Served, start

JSON = {"Content-Type": "application/json"}
LONG = "30"
CLIENTS = 16


@pytest.fixture
def draining() -> Iterator[Served]:
    """A program that has just been told to stop and drains for long."""
    served = start(HANDFAST_DRAIN_SECONDS=LONG)
    served.process.send_signal(signal.SIGTERM)
    _until_draining(served)
    yield served
    served.process.kill()
    served.process.communicate()


def _connection(served: Served) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)


def _ask(client: http.client.HTTPConnection, path: str) -> http.client.HTTPResponse:
    client.request("GET", path)
    return client.getresponse()


def _until_draining(served: Served) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        client = _connection(served)
        answer = _ask(client, "/readyz")
        answer.read()
        client.close()
        if answer.status == 503:
            return
        time.sleep(0.01)
    raise AssertionError("it is still ready")


def _end(served: Served, within: float = 15.0) -> None:
    """Wait for the end, which has to be clean."""
    out, err = served.process.communicate(timeout=within)
    assert served.process.returncode == 0, err
    assert out.split()[-1] == "stopped"


def test_it_serves_on_but_is_not_ready(draining: Served) -> None:
    client = _connection(draining)
    answer = _ask(client, "/readyz")
    assert answer.status == 503
    assert "draining" in json.loads(answer.read())["problems"]["program"]
    client.close()
    client = _connection(draining)
    client.request("POST", "/api/v1/orders", b"{}", JSON)
    assert client.getresponse().status == 201
    client.close()


def test_each_answer_is_the_last_on_its_connection() -> None:
    served = start(HANDFAST_DRAIN_SECONDS=LONG)
    kept = _connection(served)
    answer = _ask(kept, "/livez")
    answer.read()
    assert answer.getheader("connection") is None
    served.process.send_signal(signal.SIGTERM)
    _until_draining(served)
    answer = _ask(kept, "/livez")
    assert (answer.status, answer.getheader("connection")) == (200, "close")
    assert answer.getheader("date") is not None
    kept.close()
    served.process.send_signal(signal.SIGTERM)  # Whoever asks twice is in a hurry.
    _end(served)


def test_a_second_signal_and_sigint_leave_the_draining_out() -> None:
    for signals in ([signal.SIGTERM, signal.SIGTERM], [signal.SIGINT]):
        served = start(HANDFAST_DRAIN_SECONDS=LONG)
        for number in signals:
            served.process.send_signal(number)
            if len(signals) > 1:
                _until_draining(served)
        began = time.monotonic()
        _end(served)
        assert time.monotonic() - began < float(LONG) / 2


def test_no_request_is_lost_when_it_stops_under_load() -> None:
    served = start(HANDFAST_DRAIN_SECONDS="0.5")
    busy = threading.Barrier(CLIENTS + 1)

    def order_on_and_on() -> Counter[str]:
        """Place orders over kept connections, without trying again, until nobody listens any more."""
        answers: Counter[str] = Counter()
        client = _connection(served)
        while True:
            try:
                client.connect()
            except ConnectionRefusedError:
                return answers
            kept = True
            while kept:
                try:
                    client.request("POST", "/api/v1/orders", b"{}", JSON)
                    answer = client.getresponse()
                    answer.read()
                except OSError as failure:
                    answers[repr(failure)] += 1
                    break
                answers[str(answer.status)] += 1
                kept = answer.getheader("connection") != "close"
                if answers.total() == 50:
                    busy.wait()
            client.close()

    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        ended = pool.submit(_end, served, 60.0)
        clients = [pool.submit(order_on_and_on) for _ in range(CLIENTS)]
        busy.wait()
        served.process.send_signal(signal.SIGTERM)
        answers = sum((client.result() for client in clients), Counter())
        ended.result()
    assert list(answers) == ["201"], answers


def test_a_request_that_has_begun_to_arrive_is_answered() -> None:
    served = start(HANDFAST_DRAIN_SECONDS="0")
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as arriving:
        arriving.sendall(b"GET /livez HTTP/1.1\r\nHost: ")
        idle = _connection(served)
        _ask(idle, "/livez").read()
        served.process.send_signal(signal.SIGTERM)
        assert idle.sock is not None
        assert idle.sock.recv(1) == b""  # Idle, it is closed; so the end has come.
        arriving.sendall(b"x\r\n\r\n")
        answer = arriving.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer
    idle.close()
    _end(served)
