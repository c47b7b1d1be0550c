"""What a verified token's claims say: whether it is meant for us, now, and who its bearer is; pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shared.clock import Millis
from shared.identity import ID_PATTERN
from shared.security.roles import Principal, Role

MOST_SUBJECT: Final = 200
_ID: Final = re.compile(ID_PATTERN.removeprefix("^").removesuffix("$"))


class BadClaims(Exception):
    """The token is genuine and no good here; the text says why."""


@dataclass(frozen=True, slots=True)
class Expectations:
    """What is asked of claims. issuer: None asks for none; leeway: milliseconds; services: names by client;
    the other names are those of claims, a dot in them goes one object down."""

    audience: str
    issuer: str | None = None
    leeway: Millis = 0
    roles: str = "roles"
    customer: str = "sub"
    client: str = "client_id"
    services: Mapping[str, str] = field(default_factory=dict)


def bearer(claims: Mapping[str, Any], expected: Expectations, now: Millis) -> tuple[Principal, Millis]:
    """Return whose token it is, and when it ends, leeway included. Raises BadClaims."""
    if expected.issuer is not None and claims.get("iss") != expected.issuer:
        raise BadClaims("it is from another issuer")
    if not _is_among(expected.audience, claims.get("aud")):
        raise BadClaims(f"it is not meant for {expected.audience} (aud)")
    ends_at = _instant(claims, "exp") + expected.leeway
    if now >= ends_at:
        raise BadClaims("it has expired")
    if "nbf" in claims and now + expected.leeway < _instant(claims, "nbf"):
        raise BadClaims("it isn't valid yet")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MOST_SUBJECT or not subject.isprintable():
        raise BadClaims("it names no subject (sub)")
    roles = frozenset(role for role in Role if role.value in _words(_at(claims, expected.roles)))
    return Principal(
        subject=subject,
        roles=roles,
        customer=_id(claims, expected.customer, "customer") if Role.CUSTOMER in roles else None,
        service=_service(claims, expected) if Role.SERVICE in roles else None,
    ), ends_at


def written(path: str, value: Any) -> dict[str, Any]:
    """Return claims that have a value at a path, as Expectations names it."""
    first, _, rest = path.partition(".")
    return {first: written(rest, value) if rest else value}


def _service(claims: Mapping[str, Any], expected: Expectations) -> str:
    client = _id(claims, expected.client, "client")
    return expected.services.get(client, client)


def _id(claims: Mapping[str, Any], path: str, what: str) -> str:
    value = _at(claims, path)
    if not isinstance(value, str) or _ID.fullmatch(value) is None:
        raise BadClaims(f"it names no {what}: {path} must match {ID_PATTERN}")
    return value


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """Return what is at a path; a claim whose own name has dots in it is found as well."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _words(value: Any) -> frozenset[str]:
    if isinstance(value, str):
        return frozenset(value.split())
    return (
        frozenset(word for word in value if isinstance(word, str)) if isinstance(value, list) else frozenset()
    )


def _is_among(wanted: str, audience: Any) -> bool:
    return wanted == audience or (isinstance(audience, list) and wanted in audience)


def _instant(claims: Mapping[str, Any], name: str) -> Millis:
    value = claims.get(name)
    # A bool is an int to Python; infinity and the like are none to a clock.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e11:
        raise BadClaims(f"it names no instant as {name}")
    return round(value * 1000)
