"""Who sends a request: the token in its head, verified once and then remembered by its hash."""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

from shared.clock import Clock, Millis
from shared.errors import Transient
from shared.security.access import Unauthenticated
from shared.security.claims import BadClaims, Expectations, bearer
from shared.security.keys import Keys, UnknownKey
from shared.security.roles import Principal
from shared.security.signatures import BadToken, parse, verify

MOST_BYTES: Final = 8_192
"""The longest token that is looked at."""
MOST_REMEMBERED: Final = 10_000

_BEARER: Final = re.compile(rb"(?i:bearer) +([A-Za-z0-9._~+/=-]+)")


class Verifier:
    """Tells a request's bearer from its head. A token is remembered until it ends or the keys change."""

    def __init__(self, keys: Keys, expected: Expectations, clock: Clock) -> None:
        self._keys = keys
        self._expected = expected
        self._clock = clock
        self._version = keys.version
        self._remembered: dict[bytes, tuple[Principal, Millis]] = {}

    async def __call__(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """Return whose token a head carries.

        Raises Unauthenticated where there is none that is any good, Transient where the issuer's keys are not
        known and can't be had now.
        """
        token = _token(headers)
        digest = hashlib.sha256(token).digest()
        if self._version != self._keys.version:
            self._remembered.clear()
            self._version = self._keys.version
        now = self._clock.now()
        known = self._remembered.get(digest)
        if known is not None and now < known[1]:
            return known[0]
        principal, ends_at = await self._verify(token.decode("ascii"), now)
        if len(self._remembered) >= MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[digest] = principal, ends_at
        return principal

    async def _verify(self, token: str, now: Millis) -> tuple[Principal, Millis]:
        try:
            unverified = parse(token)
            key = await self._keys.find(unverified.kid, unverified.alg)
            return bearer(verify(unverified, key), self._expected, now)
        except (BadToken, BadClaims) as error:
            raise Unauthenticated(f"The token is no good: {error}. Get a new one.") from None
        except UnknownKey:
            raise Unauthenticated(
                "The token is no good: it is signed with no key of the issuer's. Get a new one."
            ) from None
        except Transient as error:
            raise Transient(
                "The issuer of the tokens can't be reached, so nobody's can be verified. Try again later.",
                "issuer-unreachable",
            ) from error


def _token(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    given = [value for name, value in headers if name == b"authorization"]
    if not given:
        raise Unauthenticated("Send a token: Authorization: Bearer <token>.", "unauthenticated")
    if len(given) > 1:
        raise Unauthenticated("Send one Authorization header.")
    found = _BEARER.fullmatch(given[0])
    if found is None:
        raise Unauthenticated("Authorization must be: Bearer <token>.")
    if len(found[1]) > MOST_BYTES:
        raise Unauthenticated(f"The token is longer than {MOST_BYTES} bytes.")
    return found[1]
