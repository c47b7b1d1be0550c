"""The order service's settings: the common ones and its own."""

from pydantic import Field

from shared.settings import Settings


class OrderSettings(Settings):
    """Settings of the order service."""

    order_patience_seconds: float = Field(
        12.0,
        gt=0,
        le=60,
        description="How long an order's answer waits for an outcome that is not certain before it is 202 "
        "PENDING, in seconds.",
    )
    order_call_seconds: float = Field(
        5.0, gt=0, le=60, description="Longest wait for one answer of the coordinator, in seconds."
    )
    order_grace_seconds: float = Field(
        3.0,
        ge=0,
        le=3_600,
        description="How long an order of which nobody speaks any more (its patience has ended, its hold has "
        "expired) is left alone before the sweeper asks, in seconds.",
    )
