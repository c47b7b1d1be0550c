"""Who holds the money is chosen by settings, and Stripe's key is kept out of whatever they say."""

import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from payment_service.settings import PaymentSettings

KEY = "sk_live_never_to_be_seen"


def settings(**given: Any) -> PaymentSettings:
    return PaymentSettings(_env_file=None, **given)


def test_the_ledger_is_the_default_and_needs_nothing() -> None:
    assert settings().payment_gateway == "ledger"


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFAST_PAYMENT_GATEWAY", "stripe")
    monkeypatch.setenv("HANDFAST_STRIPE_API_KEY", KEY)
    assert settings().stripe_key().get_secret_value() == KEY


def test_the_key_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    found = settings(payment_gateway="stripe", stripe_api_key_file=file)
    assert found.stripe_key().get_secret_value() == KEY


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "HANDFAST_STRIPE_API_KEY or"),
        ({"stripe_api_key": KEY, "stripe_api_key_file": "key"}, "HANDFAST_STRIPE_API_KEY or"),
        ({"stripe_api_key_file": "not/there"}, "can't be read"),
        ({"stripe_api_key": " "}, "visible ASCII"),
        ({"stripe_api_key": f"{KEY}\r\nx: y"}, "visible ASCII"),
        ({"stripe_api_key": KEY, "stripe_url": "http://stripe.example"}, "must be https"),
        ({"stripe_api_key": KEY, "stripe_url": "ftp://127.0.0.1"}, "must be https"),
        ({"stripe_api_key": KEY, "stripe_url": "https://"}, "must be https"),
        ({"stripe_api_key": KEY, "stripe_currency": "EURO"}, "stripe_currency"),
        ({"stripe_api_key": KEY, "gateway_timeout_seconds": 0}, "gateway_timeout_seconds"),
    ],
)
def test_what_can_not_work_stops_the_service_without_showing_the_key(
    given: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValidationError, match=says) as error:
        settings(payment_gateway="stripe", **given)
    assert KEY not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("url", ["https://api.stripe.com", "http://127.0.0.1:8420", "http://localhost:8420"])
def test_the_key_travels_over_tls_or_stays_on_this_machine(url: str) -> None:
    assert settings(payment_gateway="stripe", stripe_api_key=KEY, stripe_url=url).stripe_url == url


def test_the_key_is_not_in_what_the_settings_print() -> None:
    found = settings(payment_gateway="stripe", stripe_api_key=KEY)
    assert KEY not in f"{found!r} {found} {found.model_dump()} {found.model_dump_json()}"
