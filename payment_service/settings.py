"""The payment service's settings: so far those that all programs have."""

from shared.settings import Settings


class PaymentSettings(Settings):
    """Settings of the payment service."""
