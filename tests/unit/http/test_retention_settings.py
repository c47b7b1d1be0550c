"""What may ask about something must be gone before it: the settings are checked when a program starts."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.settings import Settings


def settings(**given: float) -> Settings:
    hours: dict[str, Any] = {f"{name}_retention_hours": value for name, value in given.items()}
    return Settings(_env_file=None, **hours)


def test_the_defaults_outlive_each_other() -> None:
    assert settings().transaction_retention_ms == 30 * 24 * 3_600_000


def test_letters_outlive_the_topics_records() -> None:
    with pytest.raises(ValidationError, match=r"HANDFAST_LETTER_RETENTION_HOURS \(168\) must be longer than"):
        settings(letter=168)


def test_branches_outlive_letters_and_whatever_is_made_of_them() -> None:
    with pytest.raises(ValidationError, match=r"HANDFAST_TRANSACTION_RETENTION_HOURS \(672\)"):
        settings(transaction=672)
    assert settings(transaction=673).transaction_retention_hours == 673


def test_the_skew_between_clocks_counts() -> None:
    allowed = {"topic": 1.0, "letter": 2.0, "transaction": 4.1}
    assert settings(**allowed).skew_allowance_seconds == 30
    with pytest.raises(ValidationError, match="HANDFAST_SKEW_ALLOWANCE_SECONDS together"):
        Settings(
            _env_file=None,
            skew_allowance_seconds=600,
            topic_retention_hours=1,
            letter_retention_hours=2,
            transaction_retention_hours=4.1,
        )


def test_a_try_within_the_skew_allowance_is_never_one_of_long_ago() -> None:
    seconds = {"topic": 1 / 3_600, "letter": 2 / 3_600}
    with pytest.raises(ValidationError, match="HANDFAST_TRANSACTION_RETENTION_HOURS"):
        settings(**seconds, transaction=60 / 3_600)
    assert settings(**seconds, transaction=65 / 3_600).transaction_retention_ms // 2 > 30_000
