"""The coordinator's settings: those of every program, the participants, and how patient it is."""

from collections.abc import Sequence

from pydantic import Field

from coordinator.branch import Policy
from coordinator.participants import Registration
from shared.settings import Settings


class CoordinatorSettings(Settings):
    """What the coordinator adds."""

    participants: tuple[Registration, ...] = Field(
        (),
        description="The participants as a JSON array of {name, url, path, confirm, timeout_seconds, "
        "calls_in_flight}; confirm is kafka:<topic> or rest. Empty: order, stock and payment at their URLs.",
    )
    transaction_timeout_seconds: float = Field(
        10.0,
        gt=0,
        le=86_400,
        description="Time a transaction has to be decided when nobody says, in seconds.",
    )
    try_timeout_seconds: float = Field(
        2.0, gt=0, le=60, description="Time one call to order, stock or payment may take, in seconds."
    )
    retry_initial_seconds: float = Field(
        0.1,
        gt=0,
        description="First pause before a Cancel or a Confirm over REST is tried again, in seconds.",
    )
    retry_max_seconds: float = Field(
        30.0, gt=0, description="Longest such pause; it doubles each time, with jitter, in seconds."
    )
    attention_seconds: float = Field(
        30.0,
        gt=0,
        description="Time after its decision at which an unsettled transaction is flagged, in seconds.",
    )
    reconcile_seconds: float = Field(
        300.0,
        ge=0,
        description="Time from the begin of one reconciliation to that of the next, in seconds; 0: only on "
        "demand.",
    )
    lease_seconds: float = Field(
        5.0,
        gt=0,
        description="Time for which a transaction at work is left alone by other drivers, in seconds.",
    )


def registrations(settings: CoordinatorSettings) -> Sequence[Registration]:
    """Return the participants that are registered: those of the settings, or our own three services."""
    if settings.participants:
        return settings.participants
    own = (
        ("order", "order-reservations", "order-confirmation"),
        ("stock", "stocks", "stock-adjustment"),
        ("payment", "payments", "payment-capture"),
    )
    return [
        Registration(
            name=name,
            url=settings.url(name),
            path=f"/api/v1/{collection}",
            confirm=f"kafka:{topic}",
            timeout_seconds=settings.try_timeout_seconds,
        )
        for name, collection, topic in own
    ]


def policy(settings: CoordinatorSettings, published: frozenset[str]) -> Policy:
    """Return the settings as the rules of coordinator.transaction take them."""
    return Policy(
        published=published,
        republish=_millis(settings.republish_seconds),
        republish_cap=_millis(settings.republish_max_seconds),
        retry=_millis(settings.retry_initial_seconds),
        retry_cap=_millis(settings.retry_max_seconds),
        attention_after=_millis(settings.attention_seconds),
    )


def _millis(seconds: float) -> int:
    return round(seconds * 1000)
