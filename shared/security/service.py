"""Authentication in a program: who is let in, and how the program shows who it is itself."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from shared.clock import Clock
from shared.errors import HandfastError
from shared.health import Check
from shared.http.caller import Caller
from shared.http.guard import Authenticate
from shared.security.claims import Expectations, written
from shared.security.roles import Role
from shared.security.settings import secret_from
from shared.settings import Settings
from shared.supervision import Loop

if TYPE_CHECKING:
    from shared.security.credentials import Tokens


class NoCredentials(HandfastError):
    """A program has nothing to prove with who it is."""


@dataclass(frozen=True, slots=True)
class Security:
    """authenticate: None where nobody is asked; peers: calls the other programs; loops: by name, to be kept
    running, and whether they can do their work."""

    authenticate: Authenticate | None
    peers: Caller
    loops: dict[str, tuple[Loop, Check]] = field(default_factory=dict)


def secure(
    settings: Settings, program: str, caller: Caller, clock: Clock, randomness: random.Random
) -> Security:
    """Return what a program needs for authentication; caller: what it calls others with.

    leeway of every instant in a token: the skew allowance.
    """
    if not settings.authenticated:
        return Security(None, caller)
    # Only now: this needs a library that takes a tenth of a second to import.
    from shared.security.peers import PeerCaller
    from shared.security.verifier import Verifier

    expected = Expectations(
        audience=settings.auth_audience,
        issuer=settings.auth_issuer,
        leeway=round(settings.skew_allowance_seconds * 1000),
        roles=settings.auth_roles_claim,
        customer=settings.auth_customer_claim,
        client=settings.auth_client_claim,
        services=settings.auth_services,
    )
    tokens = own_tokens(settings, program, Role.SERVICE, caller, clock, randomness)
    if settings.auth_issuer is None:
        from shared.security.keys import SharedKey
        from shared.security.signatures import secret_key

        shared = SharedKey(secret_key(settings.shared_secret()))
        return Security(Verifier(shared, expected, clock), PeerCaller(caller, tokens))
    from shared.security.issuer import Issuer
    from shared.security.keys import IssuerKeys

    keys = IssuerKeys(
        Issuer(settings.auth_issuer, caller),
        randomness,
        period=settings.auth_keys_seconds,
        max_age=settings.auth_keys_max_age_seconds,
    )
    loops: dict[str, tuple[Loop, Check]] = {"issuer": (keys.run, keys.health)}
    return Security(Verifier(keys, expected, clock), PeerCaller(caller, tokens), loops)


def own_tokens(
    settings: Settings, name: str, role: Role, caller: Caller, clock: Clock, randomness: random.Random
) -> "Tokens":
    """Return where the tokens come from by which one proves who he is.

    name: the program's; role: what a token says that is signed here (an issuer gives the client's own).
    Raises NoCredentials.
    """
    from shared.security.credentials import IssuedTokens, SignedTokens

    if settings.auth_issuer is None:
        from shared.security.signatures import secret_key

        claims = {
            "iss": "handfast",
            "sub": name,
            "aud": settings.auth_audience,
            **written(settings.auth_client_claim, name),
            **written(settings.auth_roles_claim, [role.value]),
        }
        return SignedTokens(secret_key(settings.shared_secret()), claims, clock)
    from shared.security.issuer import Issuer

    def secret() -> str:
        file = settings.auth_client_secret_file
        path = None if file is None else Path(file.replace("{program}", name))
        try:
            return secret_from(settings.auth_client_secret, path, "HANDFAST_AUTH_CLIENT_SECRET").decode()
        except ValueError as error:
            raise NoCredentials(f"There is nothing to get a token with: {error}.") from None

    secret()
    return IssuedTokens(
        Issuer(settings.auth_issuer, caller),
        settings.auth_client_id.replace("{program}", name),
        secret,
        randomness,
        scope=settings.auth_scope,
    )
