"""The settings of authentication. None of them set: nobody is asked who he is."""

from pathlib import Path
from typing import Final, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.http.address import is_loopback, keeps_secrets

SHORTEST_SECRET: Final = 32
"""Bytes: HS256 wants a key as long as its hash (RFC 7518, 3.2)."""


class AuthenticationSettings(BaseSettings):
    """Who may call, and how this program proves who it is."""

    # What is wrong with a setting is said without repeating it: it may be a secret.
    model_config = SettingsConfigDict(hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Address that the programs bind.")
    allow_unauthenticated: bool = Field(
        False,
        description="Whether the programs may be reached from other machines without authentication. Whoever "
        "reaches them then may do everything.",
    )
    auth_issuer: str | None = Field(
        None,
        description="Issuer of the tokens, as they name it in iss: an OpenID provider, whose keys are found "
        "at /.well-known/openid-configuration below it; https unless it is on this machine. Empty, and no "
        "shared secret: no authentication.",
    )
    auth_shared_secret: SecretStr | None = Field(
        None,
        description="Secret of at least 32 bytes that signs and verifies all tokens (HS256), instead of an "
        "issuer. Whoever has it may be anybody.",
    )
    auth_shared_secret_file: Path | None = Field(
        None, description="File that holds that secret instead, such as a mounted one; read at start."
    )
    auth_audience: str = Field(
        "handfast", min_length=1, description="What tokens must name in aud to be meant for this system."
    )
    auth_roles_claim: str = Field(
        "roles",
        min_length=1,
        description="Claim with the roles (customer, service, operator, monitor), as an array or separated "
        "by spaces; a dot goes one object down, as in realm_access.roles.",
    )
    auth_customer_claim: str = Field(
        "sub", min_length=1, description="Claim with a customer's id, as orders name it in customerId."
    )
    auth_client_claim: str = Field(
        "client_id", min_length=1, description="Claim with the client that a service is."
    )
    auth_services: dict[str, str] = Field(
        {},
        description="Names of services by client, as a JSON object, where a client isn't called as its "
        "participant is (the coordinator: coordinator).",
    )
    auth_client_id: str = Field(
        "{program}",
        min_length=1,
        description="Client as which this program gets its token; {program} stands for coordinator, order, "
        "stock or payment.",
    )
    auth_client_secret: SecretStr | None = Field(None, description="Secret of that client at the issuer.")
    auth_client_secret_file: str | None = Field(
        None,
        description="File that holds that secret instead; {program} in its path stands for the program. Read "
        "whenever a token is fetched.",
    )
    auth_scope: str | None = Field(
        None, description="Scope that is asked for with that token. Empty: what the issuer gives by itself."
    )
    auth_keys_seconds: float = Field(
        300.0, gt=0, description="Pause before the issuer's keys are fetched again, in seconds."
    )
    auth_keys_max_age_seconds: float = Field(
        86_400.0,
        gt=0,
        description="How long known keys are believed while the issuer can't be reached, in seconds.",
    )

    token: SecretStr | None = Field(
        None,
        description="Token that the command line sends. Empty: one that it gets as the programs do, as the "
        "client handfast, or with the shared secret.",
    )
    token_file: Path | None = Field(
        None, description="File that holds that token instead; read for each request."
    )

    @field_validator(
        "token",
        "token_file",
        "auth_issuer",
        "auth_shared_secret",
        "auth_shared_secret_file",
        "auth_client_secret",
        "auth_client_secret_file",
        "auth_scope",
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @property
    def authenticated(self) -> bool:
        """Whether a caller must say who he is."""
        return self.auth_issuer is not None or self.has_shared_secret

    @property
    def has_shared_secret(self) -> bool:
        return self.auth_shared_secret is not None or self.auth_shared_secret_file is not None

    def shared_secret(self) -> bytes:
        """Return the secret, from wherever it is kept; raise ValueError, which says what to do, for none."""
        secret = secret_from(
            self.auth_shared_secret, self.auth_shared_secret_file, "HANDFAST_AUTH_SHARED_SECRET"
        )
        if len(secret) < SHORTEST_SECRET:
            raise ValueError(f"HANDFAST_AUTH_SHARED_SECRET needs at least {SHORTEST_SECRET} bytes")
        return secret

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.auth_issuer is not None:
            if self.has_shared_secret:
                raise ValueError(
                    "HANDFAST_AUTH_ISSUER and HANDFAST_AUTH_SHARED_SECRET exclude each other: choose one"
                )
            if not keeps_secrets(self.auth_issuer):
                raise ValueError("HANDFAST_AUTH_ISSUER must be https: keys must not be changed on the way")
            if self.auth_client_secret is not None and self.auth_client_secret_file is not None:
                raise ValueError("set either HANDFAST_AUTH_CLIENT_SECRET or HANDFAST_AUTH_CLIENT_SECRET_FILE")
        elif self.has_shared_secret:
            self.shared_secret()
        if not (self.authenticated or self.allow_unauthenticated or is_loopback(self.host)):
            raise ValueError(
                f"nothing binds {self.host} without authentication: set HANDFAST_AUTH_ISSUER or "
                "HANDFAST_AUTH_SHARED_SECRET, or HANDFAST_ALLOW_UNAUTHENTICATED=true where whoever reaches "
                "it may do everything"
            )
        return self


def secret_from(value: SecretStr | None, file: Path | None, name: str) -> bytes:
    """Return a secret that is given as it is or in a file, without what surrounds it.

    name: of the setting. Raises ValueError, which says what to do and doesn't repeat it.
    """
    if (value is None) == (file is None):
        raise ValueError(f"set either {name} or {name}_FILE")
    if value is not None:
        return value.get_secret_value().strip().encode()
    assert file is not None
    try:
        return file.read_bytes().strip()
    except OSError as error:
        raise ValueError(f"{name}_FILE can't be read: {type(error).__name__}") from None
