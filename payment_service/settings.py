"""The payment service's settings: those of every program, and the gateway that holds the money."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from shared.http.address import keeps_secrets
from shared.settings import Settings


class PaymentSettings(Settings):
    """Settings of the payment service."""

    # What is wrong with a setting is said without repeating it: it may be the key.
    model_config = SettingsConfigDict(hide_input_in_errors=True)

    payment_gateway: Literal["ledger", "stripe"] = Field(
        "ledger",
        description="Who holds the money: this service's accounts (ledger), or cards at Stripe (stripe).",
    )
    gateway_timeout_seconds: float = Field(
        10.0,
        gt=0,
        le=60,
        description="Longest that one step at the gateway may take before it is looked up, in seconds.",
    )
    stripe_url: str = Field(
        "https://api.stripe.com",
        description="Base URL of Stripe's API, or of a stand-in; https unless it is on this machine.",
    )
    stripe_api_key: SecretStr | None = Field(None, description="Secret key of the Stripe account.")
    stripe_api_key_file: Path | None = Field(
        None, description="File that holds that key instead, such as a mounted secret; read at start."
    )
    stripe_currency: str = Field(
        "eur",
        pattern="^[a-z]{3}$",
        description="Currency of all amounts at Stripe, as its three-letter ISO code in lower case.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.payment_gateway == "stripe":
            self.stripe_key()
            if not keeps_secrets(self.stripe_url):
                raise ValueError("HANDFAST_STRIPE_URL must be https: the key must not travel in the clear")
        return self

    def stripe_key(self) -> SecretStr:
        """Return the key, from wherever it is kept; raise ValueError, which says what to do, for none."""
        if (self.stripe_api_key is None) == (self.stripe_api_key_file is None):
            raise ValueError("set either HANDFAST_STRIPE_API_KEY or HANDFAST_STRIPE_API_KEY_FILE")
        if self.stripe_api_key is not None:
            key = self.stripe_api_key.get_secret_value().strip()
        else:
            assert self.stripe_api_key_file is not None
            try:
                key = self.stripe_api_key_file.read_text(encoding="ascii").strip()
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"HANDFAST_STRIPE_API_KEY_FILE can't be read: {type(error).__name__}"
                ) from None
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError("Stripe's key must be visible ASCII characters")
        return SecretStr(key)
