"""If-Match and If-None-Match against a product's version."""

import pytest
from starlette.datastructures import Headers

from stock_service.precondition import etag, precondition


@pytest.mark.parametrize(
    ("value", "version", "allowed"),
    [
        (None, None, True),
        (None, 7, True),
        ('"7"', 7, True),
        ('"7"', 8, False),
        ('"7"', None, False),
        ('"6", "7"', 7, True),
        ('"6","8"', 7, False),
        ("*", 7, True),
        ("*", None, False),
        ('W/"7"', 7, False),
        ('"*"', 7, False),
        ("7", 7, False),
        ("", 7, False),
        ('"7', 7, False),
    ],
)
def test_if_match_demands_the_version_that_was_read(
    value: str | None, version: int | None, allowed: bool
) -> None:
    headers = Headers({} if value is None else {"if-match": value})
    assert precondition(headers)(version) is allowed


def test_if_none_match_star_only_creates() -> None:
    allowed = precondition(Headers({"if-none-match": "*"}))
    assert allowed(None)
    assert not allowed(1)


def test_if_none_match_names_versions_that_are_not_to_be_there() -> None:
    assert not precondition(Headers({"if-none-match": 'W/"7"'}))(7)
    assert precondition(Headers({"if-none-match": '"7"'}))(8)


def test_a_products_own_tag_matches() -> None:
    assert precondition(Headers({"if-match": etag(12)}))(12)
