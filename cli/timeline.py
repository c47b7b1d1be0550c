"""A transaction's timeline as text: a line for each event, and beside it where in time it lies.

 0 ms  ● TRYING                                     ▏
+4 ms    stock    try: 201 in 3 ms                  ▏━━━━━
+6 ms    payment  try: 201 in 4 ms                  ▏━━━━━━━━
+7 ms  ● CONFIRMING                                 ▏        ●
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from cli.api import Json

BAR = 32
"""Width of the drawing, in characters."""


def draw(events: Sequence[Json]) -> list[str]:
    """Return the lines of a timeline. events: as GET /transactions/{id}/events lists them."""
    if not events:
        return []
    ends = [_milliseconds(event["at"]) for event in events]
    begins = [end - int(event.get("milliseconds") or 0) for event, end in zip(events, ends, strict=True)]
    first, last = min(begins), max(ends)
    lane = max((len(str(event.get("participant") or "")) for event in events), default=0)
    texts = [_text(event, lane) for event in events]
    width = max(len(text) for text in texts)
    position = _scale(first, last)
    return [
        f"{_offset(end - first):>11}  {text:<{width}}  ▏{_mark(event, position(begin), position(end))}"
        for event, begin, end, text in zip(events, begins, ends, texts, strict=True)
    ]


def _text(event: Json, lane: int) -> str:
    kind = event["event"]
    if kind == "state":
        reason = f" ({event['reason']})" if event.get("reason") else ""
        return f"● {event.get('state')}{reason}"
    who = f"  {event.get('participant') or '':<{lane}}  "
    if kind == "shrunk":
        return f"● {event.get('state')}: what happened before is past its retention"
    if kind == "call":
        return who + _call(event)
    if kind == "published":
        times = f", time {event['attempt']}" if event.get("attempt", 1) > 1 else ""
        return f"{who}confirm: published{times}"
    if kind == "outcome":
        return f"{who}{event.get('outcome')}{_because(event)}"
    if kind == "attention":
        return f"! needs attention: {event['attention']}" if event.get("attention") else "! attention is over"
    return f"{who}{kind}{_rest(event)}"


def _call(event: Json) -> str:
    phase = event.get("phase", "call")
    if event.get("error"):
        return f"{phase}: no answer ({event['error']})"
    return f"{phase}: {event.get('answer')} in {event.get('milliseconds', 0)} ms"


def _because(event: Json) -> str:
    return f" ({event['reason']})" if event.get("reason") else ""


def _rest(event: Json) -> str:
    known = {"at", "event", "participant", "branchId"}
    rest = ", ".join(
        f"{name} {value}" for name, value in event.items() if name not in known and value is not None
    )
    return f" ({rest})" if rest else ""


def _mark(event: Json, begin: int, end: int) -> str:
    if event["event"] in ("state", "shrunk"):
        return " " * end + "●"
    if event["event"] == "call":
        return " " * begin + "━" * max(1, end - begin)
    return " " * end + {"attention": "!", "published": "→"}.get(event["event"], "←")


def _scale(first: int, last: int) -> Callable[[int], int]:
    span = max(1, last - first)
    return lambda instant: round((instant - first) / span * (BAR - 1))


def _offset(milliseconds: int) -> str:
    if milliseconds < 10_000:
        return f"+{milliseconds} ms"
    return f"+{milliseconds / 1000:.1f} s"


def _milliseconds(text: Any) -> int:
    return round(datetime.fromisoformat(str(text)).timestamp() * 1000)
