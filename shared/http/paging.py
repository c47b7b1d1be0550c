"""Lists in pages: `?limit=` and an opaque `?cursor=`, answered as `{"items": [...], "nextCursor": ...}`."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Generic, TypeVar

import pydantic_core
from fastapi import Query

from shared.errors import Refused
from shared.http.model import View

T = TypeVar("T")

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many items at most.")]
Cursor = Annotated[
    str | None,
    Query(min_length=1, max_length=512, description="Where to go on: the nextCursor of the page before."),
]


class Page(View, Generic[T]):
    """Some items of a list, and where to go on (null: that was all)."""

    items: list[T]
    next_cursor: str | None


def encode_cursor(*place: str | int) -> str:
    """Write a place in a list (the last item's sort keys) as an opaque cursor."""
    return base64.urlsafe_b64encode(pydantic_core.to_json(place)).rstrip(b"=").decode()


def decode_cursor(cursor: str | None, *kinds: type[str] | type[int]) -> tuple[Any, ...] | None:
    """Read a cursor whose keys are of the given kinds; None for the list's beginning.

    Raises Refused (422 `invalid-request`) for anything that encode_cursor did not write.
    """
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        place = pydantic_core.from_json(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error) as error:
        raise _bad_cursor() from error
    if not isinstance(place, list) or [type(key) for key in place] != list(kinds):
        raise _bad_cursor()
    # What no column can hold was in none: PostgreSQL knows no NUL.
    if any("\x00" in key if isinstance(key, str) else abs(key) > 2**63 - 1 for key in place):
        raise _bad_cursor()
    return tuple(place)


def page_of(items: Sequence[T], next_cursor: str | None) -> dict[str, Any]:
    """Return a page as it is written, from items that are written as they are."""
    return {"items": items, "nextCursor": next_cursor}


def page_from(
    found: Sequence[T], limit: int, place: Callable[[T], str], shown: Callable[[T], Any]
) -> dict[str, Any]:
    """Return the page of what was read: at most `limit` items, and one more where the list goes on.

    place: an item's sort key; shown: the item as it is written.
    """
    more = encode_cursor(place(found[limit - 1])) if len(found) > limit else None
    return page_of([shown(item) for item in found[:limit]], more)


def _bad_cursor() -> Refused:
    detail = "cursor is none of this list's; leave it out to begin anew."
    return Refused("invalid-request", detail, 422, errors=[{"field": "cursor", "detail": detail}])
