"""An exception as it is kept and published: capped, and with secrets taken out."""

import re
import traceback
from dataclasses import dataclass
from typing import Final

MESSAGE_LIMIT: Final = 1_000
STACK_TRACE_LIMIT: Final = 8_000
"""In characters; what is over is cut, the stack trace at its start, because the cause stands at its end."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong. type and cause: module-qualified class names; cause: the root of the chain."""

    type: str
    cause: str
    message: str
    stack_trace: str


def failure_of(error: BaseException) -> Failure:
    """Describe an exception for people who are not meant to see what it carried."""
    # Bounded before the patterns run: an exception may carry a whole body.
    message = redact(str(error)[: 4 * MESSAGE_LIMIT])
    stack_trace = "".join(traceback.format_exception(error, limit=-30))[-4 * STACK_TRACE_LIMIT :]
    return Failure(
        type=qualified_name(type(error)),
        cause=qualified_name(type(_root(error))),
        message=_cut_end(message, MESSAGE_LIMIT),
        stack_trace=_cut_start(redact(stack_trace), STACK_TRACE_LIMIT),
    )


def qualified_name(kind: type[BaseException]) -> str:
    """Return `package.module.Class`."""
    return f"{kind.__module__}.{kind.__qualname__}"


def redact(text: str) -> str:
    """Take out what looks like a credential, a card number, a statement's parameters or a validated input.

    Paths of files keep their last two parts. What can't be written as UTF-8 is escaped.
    """
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    text = _CARD_LIKE.sub(lambda match: "***" if _is_card_number(match[0]) else match[0], text)
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")


_PATTERNS: Final = (
    (re.compile(r"://[^/\s:@]{1,200}:[^/\s@]{1,200}@"), "://***@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), r"\1 ***"),
    (
        re.compile(
            r"(?i)\b([\w-]{0,40}(?:password|passwd|secret|token|api[_-]?key|authorization|credential)s?)"
            r"([\"']?\s*[=:]\s*[\"']?)(?!bearer\b|basic\b)[^\s\"',;&)}\]]{1,500}"
        ),
        r"\1\2***",
    ),
    (re.compile(r"\[parameters: .*", re.MULTILINE), "[parameters: ***]"),
    (re.compile(r"input_value=.*?(?=, input_type=|\]|$)", re.MULTILINE), "input_value=***"),
    (re.compile(r'File "(?:[^"\n]*/)?([^"/\n]+/[^"/\n]+)"'), r'File "\1"'),
)
_CARD_LIKE: Final = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")


def _is_card_number(text: str) -> bool:
    """Apply Luhn's check, so that offsets and instants stay readable."""
    digits = [int(digit) for digit in text if digit.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _root(error: BaseException) -> BaseException:
    seen = {id(error)}
    while True:
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None or id(cause) in seen:
            return error
        seen.add(id(cause))
        error = cause


def _cut_end(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _cut_start(text: str, limit: int) -> str:
    return text if len(text) <= limit else "..." + text[3 - limit :]
