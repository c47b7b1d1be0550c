"""The stock service's settings: so far those that all programs have."""

from shared.settings import Settings


class StockSettings(Settings):
    """Settings of the stock service."""
