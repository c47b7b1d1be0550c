"""Verifiers, keys and tokens over the tests' issuer, without a socket."""

import random
from collections.abc import Mapping

from shared.clock import Millis
from shared.http.asgi_caller import AsgiCaller
from shared.security.claims import Expectations
from shared.security.issuer import Issuer as IssuerClient
from shared.security.keys import IssuerKeys, Keys, SharedKey
from shared.security.roles import Principal
from shared.security.signatures import secret_key
from shared.security.verifier import Verifier
from tests.issuer import AUDIENCE, SECRET, Issuer

NOW: Millis = 1_790_000_000_000
SKEW: Millis = 30_000


class Hands:
    """A clock whose hands are moved."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> Millis:
        return self.at


class Door:
    """A verifier, and what it stands on."""

    def __init__(self, keys: Keys, issuer: str | None) -> None:
        self.clock = Hands()
        self.keys = keys
        self.verifier = Verifier(keys, Expectations(AUDIENCE, issuer, SKEW), self.clock)

    async def admit(self, token: str, scheme: str = "Bearer") -> Principal:
        """Return whose token it is, as a request's head carries it."""
        return await self.verifier([(b"authorization", f"{scheme} {token}".encode())])


def by_secret(secret: str = SECRET) -> Door:
    return Door(SharedKey(secret_key(secret.encode())), None)


def keys_of(issuer: Issuer, apps: Mapping[str, object] | None = None) -> IssuerKeys:
    client = IssuerClient(issuer.url, AsgiCaller(apps or {issuer.url: issuer.app}))  # type: ignore[arg-type]
    return IssuerKeys(client, random.Random(7), period=300, max_age=3_600)


def by_issuer(issuer: Issuer) -> Door:
    return Door(keys_of(issuer), issuer.url)


def seconds() -> float:
    """Return the clock's instant as tokens have it."""
    return NOW / 1000
