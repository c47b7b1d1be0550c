"""The stock service's settings, besides those that all programs have."""

from pydantic import Field

from shared.settings import Settings
from stock_service.participant import Strategy


class StockSettings(Settings):
    """Settings of the stock service."""

    stock_strategy: Strategy = Field(
        "atomic",
        description="How a hold is decided when many want the same product: by a conditional update "
        "(atomic), by version with retries (optimistic), under the row's lock (pessimistic), or many at once "
        "by a single writer (queue).",
    )
