"""Signatures of tokens: the one place that knows the library which makes and checks them.

Which algorithms are taken never depends on what a token says, but on the key that it is checked with.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import CompactSignature, JWSRegistry

SHORTEST_RSA: Final = 2048
"""Bits (RFC 7518, 3.3)."""

_ALGORITHMS: Final[dict[type, frozenset[str]]] = {
    OctKey: frozenset({"HS256"}),
    RSAKey: frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    ECKey: frozenset({"ES256", "ES384", "ES512"}),
    OKPKey: frozenset({"Ed25519"}),
}
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""What a token may call itself: an access token, or nothing more than a JWT (RFC 9068)."""


class BadToken(Exception):
    """It is no token, or not one that this key has signed; the text says why, and nothing of its content."""


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token of which nothing is believed yet. kid: the key that it says has signed it; alg: how."""

    kid: str | None
    alg: str
    signature: CompactSignature


def parse(token: str) -> Unverified:
    """Take a token apart; raise BadToken where it is none."""
    try:
        signature = jws.extract_compact(token.encode("ascii"), registry=_REGISTRY)
        header = signature.headers()
        _REGISTRY.check_header(header)
    except (JoseError, ValueError, TypeError, RecursionError):
        raise BadToken("it is no signed JWT") from None
    kid, kind = header.get("kid"), header.get("typ", "JWT")
    if kind.lower() not in _TYPES:
        raise BadToken("it is no access token (typ)")
    return Unverified(kid, header["alg"], signature)


def verify(token: Unverified, key: Key) -> Mapping[str, Any]:
    """Return the claims of a token that a key has signed; raise BadToken where it hasn't."""
    if not fits(key, token.alg):
        raise BadToken("its algorithm is none that is taken with this key")
    try:
        genuine = jws.validate_compact(token.signature, key, [token.alg], _REGISTRY)
        claims = json.loads(token.signature.payload) if genuine else None
    except (JoseError, ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise BadToken("its signature is wrong")
    return claims


def fits(key: Key, alg: str) -> bool:
    """Say whether an algorithm is taken with a key."""
    return alg in _ALGORITHMS[type(key)] and key.alg in (None, alg)


def sign(claims: Mapping[str, Any], key: Key) -> str:
    """Return a token with these claims, signed by a shared secret."""
    return jwt.encode({"alg": "HS256", "typ": "at+jwt"}, dict(claims), key, ["HS256"])


def secret_key(secret: bytes) -> Key:
    """Return a shared secret as a key."""
    return OctKey.import_key(secret)


def public_key(document: Mapping[str, Any]) -> Key | None:
    """Read a key of a JWKS; None for one that is no use here: not for signatures, too weak, or not public."""
    if document.get("use", "sig") != "sig" or document.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    if _is_weak(document):
        return None
    try:
        key = JWKRegistry.import_key(dict(document))
    except (JoseError, ValueError, TypeError):
        return None
    return None if key.is_private else key


def _is_weak(document: Mapping[str, Any]) -> bool:
    """Say whether an RSA key is too short; the library would only warn of it."""
    modulus = document.get("n")
    return document["kty"] == "RSA" and not (isinstance(modulus, str) and len(modulus) * 6 >= SHORTEST_RSA)


class _Registry(JWSRegistry):
    # A chain of certificates in the header is larger, and no use to us.
    max_header_length = 2_048


# What is not in its list of headers is ignored, but for `crit`, which is obeyed.
_REGISTRY: Final = _Registry(
    algorithms=sorted(frozenset[str]().union(*_ALGORITHMS.values())), strict_check_header=False
)
