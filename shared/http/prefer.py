"""`Prefer: wait=N` (RFC 7240): how long a client would wait for the final state."""

import re
from typing import Final

from starlette.requests import Request

LONGEST_SECONDS: Final = 30

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PREFERENCE: Final = re.compile(
    rf'\s*({_WORD})(?:\s*=\s*({_WORD}|"(?:[^"\\]|\\.)*"))?'
    rf'(?:\s*;(?:\s*{_WORD}(?:\s*=\s*(?:{_WORD}|"(?:[^"\\]|\\.)*"))?)?)*\s*(?:,|$)'
)


def wait_seconds(request: Request) -> float:
    """Return the seconds of the request's `wait` preference, at most LONGEST_SECONDS; 0 without one.

    The first `wait` counts; a preference that can't be understood is ignored, as the RFC has it.
    """
    header = ", ".join(request.headers.getlist("prefer"))
    if not header:
        return 0
    return _wait(header[:500])


def _wait(header: str) -> float:
    position = 0
    while position < len(header):
        match = _PREFERENCE.match(header, position)
        if match is None:
            # What can't be read ends at the next comma.
            comma = header.find(",", position)
            if comma < 0:
                return 0
            position = comma + 1
            continue
        if match[1].lower() == "wait":
            value = (match[2] or "").strip('"')
            return min(int(value), LONGEST_SECONDS) if value.isascii() and value.isdigit() else 0
        position = match.end()
    return 0
