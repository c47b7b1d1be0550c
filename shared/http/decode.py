"""From bytes to a model, with one problem for everything that can be wrong with them.

Pydantic finds almost all of it. What it lets pass are names that come twice (the last one wins silently, so
that two readers may see two different requests) and NaN in free-form values; those are looked for apart, and
only where a count of colons doesn't rule them out already.
"""

import json
import math
from collections.abc import Callable
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from shared.errors import Refused
from shared.http.model import MAX_NUMBER

MOST_ERRORS: Final = 20


def decoder(model: type[BaseModel], *, optional: bool = False) -> Callable[[bytes, Request], Any]:
    """Return a function from a request's body to the model (or None where it is empty and optional).

    The function raises Refused: 422 `invalid-request`, or 415 where an empty body claims to be no JSON.
    """
    validate_json = model.__pydantic_validator__.validate_json

    def decode(body: bytes, request: Request) -> Any:
        if optional and (not body or body == b"null"):
            return None
        if not body:
            raise _empty(request)
        try:
            value = validate_json(body, by_alias=True, by_name=False)
        except ValidationError as error:
            respelled = _with_plain_integers(body)
            if respelled is None:
                raise invalid(error) from None
            return decode(respelled, request)
        # Every name takes a colon: as many colons as fields that were set means that nothing is nested and
        # no name came twice.
        if body.count(b":") != len(value.model_fields_set):
            _check_exactness(body)
        return value

    return decode


def is_json(content_type: str | None) -> bool:
    """Say whether a Content-Type names JSON: application/json, or a +json type, in UTF-8."""
    if content_type is None:
        return False
    media, _, parameters = content_type.partition(";")
    media = media.strip().lower()
    if media != "application/json" and not (media.startswith("application/") and media.endswith("+json")):
        return False
    if not parameters:
        return True
    names = dict(part.strip().lower().partition("=")[::2] for part in parameters.split(";") if part.strip())
    return names.get("charset", "utf-8").strip('"') in ("utf-8", "utf8", "us-ascii")


def not_json() -> Refused:
    """Return the refusal of a body that claims to be something else."""
    return Refused("unsupported-media-type", "Send the body as Content-Type: application/json.", 415)


def invalid(error: ValidationError) -> Refused:
    """Describe what a model found wrong, without repeating what was sent."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[:MOST_ERRORS]
    return refusal_of([(tuple(each["loc"]), each["msg"]) for each in found])


def refusal_of(found: list[tuple[tuple[Any, ...], str]]) -> Refused:
    """Build the 422 `invalid-request` from places and what is wrong there."""
    errors = [
        {"field": ".".join(str(part)[:64] for part in place), "detail": _printable(detail)[:200]}
        for place, detail in found[:MOST_ERRORS]
    ]
    told = "; ".join(": ".join(part for part in each.values() if part) for each in errors[:3])
    detail = f"{told}. Correct the request and send it again."
    return Refused("invalid-request", detail[:500], 422, errors=errors)


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _empty(request: Request) -> Refused:
    content_type = request.headers.get("content-type")
    if content_type is not None and not is_json(content_type):
        return not_json()
    return refusal_of([((), "The body is missing: send a JSON object")])


def _check_exactness(body: bytes) -> None:
    try:
        _EXACT.decode(body.decode())
    except ValueError as error:
        raise refusal_of([((), str(error))]) from None


def _with_plain_integers(body: bytes) -> bytes | None:
    """Spell 2.0 and 2e3 as the integers that they are to JSON; None where there is nothing to respell.

    Pydantic's strict integers want an integer's spelling, the schema that we publish only wants its value.
    """
    found = False

    def plain(number: str) -> float | int:
        nonlocal found
        value = _finite(number)
        if not value.is_integer() or abs(value) > MAX_NUMBER:
            return value
        found = True
        return int(value)

    try:
        # Decoded here, because json would take UTF-16 and a byte order mark, which pydantic has refused.
        values = json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_finite, parse_float=plain)
        return json.dumps(values).encode() if found else None
    except (ValueError, RecursionError):
        return None  # What is wrong with it, pydantic has said already.


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{repeated[:64]!r} is given more than once")
    return values


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number[:32]} is no number that JSON can carry")
    return value


# Made once: to make it takes as long as to read a small body.
_EXACT: Final = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_finite, parse_float=_finite)
