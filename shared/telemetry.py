"""Telemetry: the trace that a piece of work belongs to, log lines that name it, and counted requests.

The trace is a context variable that holds a W3C `traceparent`; the doors set it, callers and the outbox pass
it on. Metrics live in a registry that the program is given; nothing here is global but that variable.
"""

import json
import logging
import random
import re
import sys
from bisect import bisect_left
from collections.abc import Iterable
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, TextIO

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.settings import Settings

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def current_traceparent() -> str | None:
    """Return the traceparent of the work at hand, or None where it belongs to no trace."""
    return _current.get()


def new_traceparent(randomness: random.Random) -> str:
    """Return the traceparent of a new, sampled trace."""
    return f"00-{randomness.getrandbits(128) or 1:032x}-{randomness.getrandbits(64) or 1:016x}-01"


def next_traceparent(traceparent: str | None, randomness: random.Random) -> str:
    """Return a traceparent for work done here: the same trace with a parent of our own, or a new trace.

    A malformed traceparent starts a new trace, as the W3C recommendation has it.
    """
    known = valid_traceparent(traceparent)
    if known is None:
        return new_traceparent(randomness)
    return f"{known[:36]}{randomness.getrandbits(64) or 1:016x}{known[52:]}"


def valid_traceparent(traceparent: str | None) -> str | None:
    """Return a traceparent as version 00, or None where it is malformed.

    A later version may carry more after the fourth field; what it says up to there still holds.
    """
    if traceparent is None or _TRACEPARENT.match(traceparent) is None:
        return None
    if traceparent.startswith("00-"):
        return traceparent if len(traceparent) == 55 else None
    return "00" + traceparent[2:55] if len(traceparent) == 55 or traceparent[55] == "-" else None


def set_traceparent(traceparent: str | None) -> Token[str | None]:
    """Put the rest of this task under a traceparent that is known to be valid, until it is reset."""
    return _current.set(traceparent)


def reset_traceparent(token: Token[str | None]) -> None:
    """Undo set_traceparent, in the same task."""
    _current.reset(token)


class trace:  # noqa: N801 - it reads as a statement: `with trace(traceparent):`
    """Do the work inside under the given traceparent; None or a malformed one: under no trace."""

    __slots__ = ("_token", "_traceparent")

    def __init__(self, traceparent: str | None) -> None:
        self._traceparent = valid_traceparent(traceparent)

    def __enter__(self) -> None:
        self._token: Token[str | None] = _current.set(self._traceparent)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _current.reset(self._token)


def configure_logging(settings: Settings, program: str, stream: TextIO | None = None) -> None:
    """Send all log records to stream (standard error): readable lines on a terminal, else JSON objects."""
    target = stream or sys.stderr
    text = settings.log_format == "text" or (settings.log_format == "auto" and target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(_TextFormatter(program) if text else _JsonFormatter(program))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.log_level)
    # It tells every connection attempt as an error; while a broker is away that is a flood without news,
    # for the relay, the consumer and the topic keeper say it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(max(logging.WARNING, root.level))


class _JsonFormatter(logging.Formatter):
    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "program": self._program,
            "logger": record.name,
            "message": record.getMessage(),
        }
        traceparent = _current.get()
        if traceparent is not None:
            line["traceId"] = traceparent[3:35]
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _TextFormatter(logging.Formatter):
    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        traceparent = _current.get()
        traced = "" if traceparent is None else f" [{traceparent[3:11]}]"
        # A line break in a message would let a request forge log lines.
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        line = f"{moment} {record.levelname:<7} {self._program} {message}{traced}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics(Collector):
    """A program's metrics: its registry, and the HTTP requests it served.

    The requests are counted in plain lists by the event loop's one thread and turned into Prometheus
    families when somebody reads them: that costs a request half a microsecond instead of five.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._served: dict[tuple[str, str, int], list[float]] = {}
        self._shed: dict[str, int] = {}
        registry.register(self)

    def served(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered. route: its template, so that the labels stay few."""
        key = (method, route, status)
        cells = self._served.get(key)
        if cells is None:
            # One cell a bucket, one for what is slower, and the sum of the seconds.
            cells = self._served[key] = [0.0] * (len(BUCKETS) + 2)
        cells[bisect_left(BUCKETS, seconds)] += 1
        cells[-1] += seconds

    def shed(self, lane: str) -> None:
        """Count a request that was turned away because its lane was full."""
        self._shed[lane] = self._shed.get(lane, 0) + 1

    def collect(self) -> Iterable[Metric]:
        requests = HistogramMetricFamily(
            "handfast_http_request_seconds",
            "HTTP requests answered, and how long that took.",
            labels=("method", "route", "status"),
        )
        for (method, route, status), cells in list(self._served.items()):
            requests.add_metric((method, route, str(status)), _cumulated(cells), cells[-1])
        yield requests
        shed = CounterMetricFamily(
            "handfast_http_requests_shed", "HTTP requests turned away under overload.", labels=("lane",)
        )
        for lane, count in list(self._shed.items()):
            shed.add_metric((lane,), count)
        yield shed


def _cumulated(cells: list[float]) -> list[tuple[str, float]]:
    total = 0.0
    buckets = []
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), cells, strict=False):
        total += count
        buckets.append((bound, total))
    return buckets
