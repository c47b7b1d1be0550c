import io
import json
import logging
import random
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from shared.settings import Settings
from shared.telemetry import (
    Metrics,
    configure_logging,
    current_traceparent,
    new_traceparent,
    next_traceparent,
    trace,
    valid_traceparent,
)

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def root_logger() -> Iterator[None]:
    """Put the root logger back to what it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "",
        TRACEPARENT[:-1],
        TRACEPARENT + "0",
        TRACEPARENT + "-x",
        TRACEPARENT.upper(),
        "ff" + TRACEPARENT[2:],
        "00-" + "0" * 32 + TRACEPARENT[35:],
        TRACEPARENT[:36] + "0" * 16 + "-01",
        TRACEPARENT.replace("-", "_"),
        " " + TRACEPARENT,
    ],
)
def test_a_malformed_traceparent_is_none(traceparent: str | None) -> None:
    assert valid_traceparent(traceparent) is None
    with trace(TRACEPARENT):
        with trace(traceparent):
            assert current_traceparent() is None
        assert current_traceparent() == TRACEPARENT
    assert current_traceparent() is None


def test_a_later_version_is_read_as_far_as_we_know_it() -> None:
    assert valid_traceparent("01" + TRACEPARENT[2:] + "-more") == TRACEPARENT
    assert valid_traceparent("01" + TRACEPARENT[2:] + "more") is None


def test_traces_are_drawn_from_the_given_randomness() -> None:
    first, second = (new_traceparent(random.Random(7)) for _ in range(2))
    assert first == second == valid_traceparent(first)
    assert new_traceparent(random.Random(8)) != first


def test_work_done_here_has_a_parent_of_its_own_in_the_same_trace() -> None:
    following = next_traceparent(TRACEPARENT, random.Random(7))
    assert following[:36] == TRACEPARENT[:36]
    assert following != TRACEPARENT
    assert valid_traceparent(following) == following
    assert next_traceparent("x", random.Random(7))[3:35] != TRACEPARENT[3:35]


@pytest.mark.usefixtures("root_logger")
def test_logs_are_json_objects_with_the_trace() -> None:
    out = io.StringIO()
    configure_logging(Settings(_env_file=None), "stock", out)
    with trace(TRACEPARENT):
        logging.getLogger("a.b").warning("held %d\nof %s", 3, "é")
    logging.getLogger("a").error("failed", exc_info=ZeroDivisionError("by nought"))
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "WARNING",
        "program": "stock",
        "logger": "a.b",
        "message": "held 3\nof é",
        "traceId": TRACEPARENT[3:35],
    }
    assert "ZeroDivisionError: by nought" in second["exception"]
    assert "traceId" not in second


@pytest.mark.usefixtures("root_logger")
def test_logs_on_a_terminal_are_lines_that_nobody_can_forge() -> None:
    out = Terminal()
    configure_logging(Settings(_env_file=None), "stock", out)
    with trace(TRACEPARENT):
        logging.getLogger("a").info("unknown id %s", "x\n12:00:00 INFO forged")
    (line,) = out.getvalue().splitlines()
    assert line.endswith("INFO    stock unknown id x\\n12:00:00 INFO forged [0af76519]")


@pytest.mark.usefixtures("root_logger")
def test_the_level_and_the_format_are_settings() -> None:
    out = Terminal()
    configure_logging(Settings(_env_file=None, log_level="ERROR", log_format="json"), "stock", out)
    logging.getLogger("a").warning("not told")
    logging.getLogger("a").error("told")
    assert [json.loads(line)["message"] for line in out.getvalue().splitlines()] == ["told"]


def test_requests_are_counted_in_buckets_that_add_up() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for seconds in (0.0005, 0.001, 0.002, 99.0):
        metrics.served("GET", "/x", 200, seconds)
    metrics.shed("orders")

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    of_route = {"method": "GET", "route": "/x", "status": "200"}
    assert value("handfast_http_request_seconds_bucket", le="0.001", **of_route) == 2
    assert value("handfast_http_request_seconds_bucket", le="0.0025", **of_route) == 3
    assert value("handfast_http_request_seconds_bucket", le="30.0", **of_route) == 3
    assert value("handfast_http_request_seconds_bucket", le="+Inf", **of_route) == 4
    assert value("handfast_http_request_seconds_count", **of_route) == 4
    assert value("handfast_http_request_seconds_sum", **of_route) == pytest.approx(99.0035)
    assert value("handfast_http_requests_shed_total", lane="orders") == 1
    assert b"# TYPE handfast_http_request_seconds histogram" in generate_latest(registry)
