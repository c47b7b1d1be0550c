"""The stock service's settings, besides those that all programs have."""

from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from shared.settings import Settings
from stock_service.participant import Strategy


class StockSettings(Settings):
    """Settings of the stock service."""

    # A URL that can't be used may hold a password all the same.
    model_config = SettingsConfigDict(hide_input_in_errors=True)

    stock_strategy: Strategy = Field(
        "atomic",
        description="How a hold is decided when many want the same product: by a conditional update "
        "(atomic), by version with retries (optimistic), under the row's lock (pessimistic), or many at once "
        "by a single writer (queue).",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="Valkey or Redis that decides who gets a unit of a drop, as redis://, rediss:// (TLS) or "
        "unix://, with user and password where it wants them. Empty: the service's own database decides.",
    )

    @field_validator("redis_url")
    @classmethod
    def _is_a_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None or not url.get_secret_value():
            return None
        if not _is_usable(url.get_secret_value()):
            raise ValueError(
                "write it as redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix://PATH, with what is "
                "special in a password percent-encoded"
            )
        return url


def _is_usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # It is none, and may be a part of the password.
        return False
    return parts.scheme in ("redis", "rediss", "unix") and port != 0
