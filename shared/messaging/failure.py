"""An exception as it is kept and published: capped, and with secrets taken out."""

import hashlib
import re
import traceback
from dataclasses import dataclass
from typing import Final

from shared.messaging.redaction import Redactor

MESSAGE_LIMIT: Final = 1_000
STACK_TRACE_LIMIT: Final = 8_000
PLACE_LIMIT: Final = 200
"""In characters; what is over is cut, the stack trace at its start, because the cause stands at its end."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong. type and cause: module-qualified class names; cause: the root of the chain."""

    type: str
    cause: str
    message: str
    stack_trace: str

    @property
    def place(self) -> str:
        """Where it was raised, without the line, which every release moves: `tcc/branches.py in _apply`.

        Empty where the exception was returned and never raised.
        """
        frames = _FRAME.findall(self.stack_trace)
        return f"{frames[-1][0]} in {frames[-1][1]}"[:PLACE_LIMIT] if frames else ""

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that failures of one type from one place have in common."""
        return hashlib.sha256(f"{self.type[:500]}\n{self.place}".encode()).hexdigest()[:16]


def failure_of(error: BaseException, redactor: Redactor | None = None) -> Failure:
    """Describe an exception for people who are not meant to see what it carried."""
    # Bounded before the patterns run: an exception may carry a whole body.
    message = redact(str(error)[: 4 * MESSAGE_LIMIT], redactor)
    stack_trace = "".join(traceback.format_exception(error, limit=-30))[-4 * STACK_TRACE_LIMIT :]
    return Failure(
        type=qualified_name(type(error)),
        cause=qualified_name(type(_root(error))),
        message=_cut_end(message, MESSAGE_LIMIT),
        stack_trace=_cut_start(redact(stack_trace, redactor), STACK_TRACE_LIMIT),
    )


def qualified_name(kind: type[BaseException]) -> str:
    """Return `package.module.Class`."""
    return f"{kind.__module__}.{kind.__qualname__}"


def redact(text: str, redactor: Redactor | None = None) -> str:
    """Take out secrets, a statement's parameters and a validated input.

    Paths of files keep their last two parts. What can't be written as UTF-8 is escaped.
    """
    text = (redactor or Redactor())(text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")


_PATTERNS: Final = (
    (re.compile(r"\[parameters: .*", re.MULTILINE), "[parameters: ***]"),
    (re.compile(r"input_value=.*?(?=, input_type=|\]|$)", re.MULTILINE), "input_value=***"),
    (re.compile(r'File "(?:[^"\n]*/)?([^"/\n]+/[^"/\n]+)"'), r'File "\1"'),
)
_FRAME: Final = re.compile(r'^ *File "([^"\n]+)", line \d+, in (.+)$', re.MULTILINE)


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
