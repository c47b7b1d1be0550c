"""The protocol's HTTP headers as values."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from shared.clock import Millis, from_iso
from shared.errors import Refused
from shared.identity import ID_PATTERN
from shared.tcc.protocol import BRANCH_ID, DEADLINE, REASON, TRANSACTION_ID

MAX_REASON: Final = 200
"""A Cancel's reason is cut after so many characters."""

_ID: Final = re.compile(ID_PATTERN.removeprefix("^").removesuffix("$"))
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")
_NAMES: Final = {
    TRANSACTION_ID: "TCC-Transaction-Id",
    BRANCH_ID: "TCC-Branch-Id",
    DEADLINE: "TCC-Deadline",
    REASON: "TCC-Reason",
}


class TccHeaders(NamedTuple):
    """What a request says of the transaction it belongs to; None for what it doesn't say."""

    transaction_id: str | None = None
    branch_id: str | None = None
    deadline: Millis | None = None
    reason: str | None = None

    @classmethod
    def read(cls, headers: Iterable[tuple[bytes, bytes]]) -> "TccHeaders":
        """Read them from a request's raw headers; raise Refused (422) where one is malformed or repeated."""
        found: dict[str, str] = {}
        for raw, value in headers:
            if raw.startswith(b"tcc-"):
                name = raw.decode("latin-1")
                if name in found:
                    raise _malformed(name, "is given more than once")
                found[name] = value.decode("latin-1")
        if not found:
            return _NONE
        return cls(
            _id(found, TRANSACTION_ID),
            _id(found, BRANCH_ID),
            _deadline(found),
            _reason(found),
        )

    @property
    def is_try(self) -> bool:
        """Whether they make a POST a coordinated Try; raise Refused (422) where only some are there."""
        given = [self.transaction_id is not None, self.branch_id is not None, self.deadline is not None]
        if any(given) and not all(given):
            raise Refused(
                "invalid-request",
                "A Try of a transaction takes TCC-Transaction-Id, TCC-Branch-Id and TCC-Deadline together; "
                "leave all three out for a standalone reservation.",
                422,
            )
        return all(given)


_NONE: Final = TccHeaders()


def _id(found: dict[str, str], name: str) -> str | None:
    value = found.get(name)
    if value is not None and _ID.fullmatch(value) is None:
        raise _malformed(name, f"must match {ID_PATTERN}")
    return value


def _deadline(found: dict[str, str]) -> Millis | None:
    text = found.get(DEADLINE)
    if text is None:
        return None
    try:
        return from_iso(text)
    except (ValueError, OverflowError) as error:
        raise _malformed(DEADLINE, "must be an ISO 8601 instant with a time zone") from error


def _reason(found: dict[str, str]) -> str | None:
    # It is a remark for people: an odd one is cleaned rather than a Cancel refused.
    text = found.get(REASON)
    return None if text is None else _UNPRINTABLE.sub("?", text)[:MAX_REASON]


def _malformed(name: str, what: str) -> Refused:
    shown = _NAMES.get(name, "A TCC header")
    detail = f"{shown} {what}."
    return Refused("invalid-request", detail, 422, errors=[{"field": shown, "detail": detail}])
