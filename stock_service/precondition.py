"""Preconditions of a change (RFC 9110, 13.1): If-Match and If-None-Match against a product's version."""

import re
from typing import Final

from starlette.datastructures import Headers

from stock_service.products import Precondition

_TAG: Final = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)')


def etag(version: int) -> str:
    """Return the entity tag of a version: it changes with every change of the product."""
    return f'"{version}"'


def precondition(headers: Headers) -> Precondition:
    """Return what a request's headers demand of the version that is there. Malformed tags match nothing."""
    matching = _tags(headers.getlist("if-match"), weak_too=False)
    excluded = _tags(headers.getlist("if-none-match"), weak_too=True)

    def allowed(version: int | None) -> bool:
        if matching is not None and not _matches(matching, version):
            return False
        return excluded is None or not _matches(excluded, version)

    return allowed


def _matches(tags: frozenset[str], version: int | None) -> bool:
    return version is not None and ("*" in tags or str(version) in tags)


def _tags(values: list[str], *, weak_too: bool) -> frozenset[str] | None:
    """Return the tags of a header that may name a version, or None where the header isn't there."""
    if not values:
        return None
    joined = ",".join(values)
    if joined.strip() == "*":
        return frozenset("*")
    found, place = set(), 0
    while match := _TAG.match(joined, place):
        weak, tag = match.groups()
        # A quoted star is a tag like any other: only a bare one means "whatever is there".
        if (weak_too or weak is None) and tag.isdigit():
            found.add(tag)
        place = match.end()
    return frozenset(found)
