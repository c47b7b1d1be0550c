"""Redaction: text without what looks like a secret, for everybody who reads failures and letters."""

import re
from collections.abc import Sequence
from typing import Final


class Redactor:
    """Takes out credentials, card numbers, and what a site's own patterns match.

    patterns: regular expressions (they are trusted: one that backtracks without end stalls its reader).
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._own = tuple(re.compile(pattern) for pattern in patterns)

    def __call__(self, text: str) -> str:
        """Return the text with `***` where secrets were."""
        for pattern, replacement in _CREDENTIALS:
            text = pattern.sub(replacement, text)
        for own in self._own:
            text = own.sub("***", text)
        return _CARD_LIKE.sub(lambda match: "***" if _is_card_number(match[0]) else match[0], text)


_CREDENTIALS: Final = (
    (re.compile(r"://[^/\s:@]{1,200}:[^/\s@]{1,200}@"), "://***@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), r"\1 ***"),
    (
        re.compile(
            r"(?i)((?:password|passwd|secret|token|api[_-]?key|authorization|credential)s?)"
            r"(\\*[\"']?\s*[=:]\s*\\*[\"']?)(?!bearer\b|basic\b)"
            # What is quoted goes whole, in a text within a text as well; else what hangs together does.
            r"(?:(?<=\\\")[^\"\\]+|(?<=\")(?:[^\"\\]|\\.)+|(?<=')(?:[^'\\]|\\.)+|[^\s\"',;&)}\]]{1,500})"
        ),
        r"\1\2***",
    ),
)
_CARD_LIKE: Final = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")


def _is_card_number(text: str) -> bool:
    """Apply Luhn's check, so that offsets and instants stay readable."""
    digits = [int(digit) for digit in text if digit.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
