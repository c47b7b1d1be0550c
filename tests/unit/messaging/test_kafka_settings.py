"""The settings of Apache Kafka: what doesn't fit together is said, and no secret with it."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shared.messaging.kafka_access import UnusableFileError
from shared.settings import Settings

SECRET = "not-to-be-seen"


def settings(**chosen: Any) -> Settings:
    return Settings(_env_file=None, **chosen)


USER = {"kafka_sasl_username": "me", "kafka_sasl_password": SECRET}


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"kafka_security_protocol": "SASL_SSL"}, "needs HANDFAST_KAFKA_SASL_USERNAME"),
        (
            {"kafka_security_protocol": "SASL_SSL", **USER, "kafka_sasl_password_file": __file__},
            "either HANDFAST_KAFKA_SASL_PASSWORD or",
        ),
        (USER, "HANDFAST_KAFKA_SASL_USERNAME is for"),
        ({"kafka_ca_file": __file__}, "HANDFAST_KAFKA_CA_FILE is for"),
        ({"kafka_ca_file": "/no/such/file"}, "does not point to a file"),
        ({"kafka_security_protocol": "TLS"}, "PLAINTEXT"),
        ({"min_insync_replicas": 2}, "HANDFAST_REPLICATION_FACTOR (1)"),
    ],
)
def test_what_does_not_fit_together_is_said(chosen: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as failure:
        settings(**chosen)
    assert said in str(failure.value)
    assert SECRET not in str(failure.value)


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SASL_USERNAME", "SASL_PASSWORD", "SASL_PASSWORD_FILE", "CA_FILE", "KEY_FILE"):
        monkeypatch.setenv(f"HANDFAST_KAFKA_{name}", "")
    assert settings().kafka_access("b:1").options() == {
        "bootstrap_servers": "b:1",
        "security_protocol": "PLAINTEXT",
    }


def test_the_password_is_shown_nowhere() -> None:
    chosen = settings(kafka_security_protocol="SASL_PLAINTEXT", **USER, kafka_key_password=SECRET)
    access = chosen.kafka_access("b:1")
    assert access.options()["sasl_plain_password"] == SECRET
    assert SECRET not in f"{chosen!r} {chosen} {access!r} {chosen.model_dump_json()}"


@pytest.mark.parametrize("name", ["kafka_ca_file", "kafka_certificate_file"])
def test_a_file_that_holds_no_certificate_is_named(tmp_path: Path, name: str) -> None:
    file = tmp_path / "none.pem"
    file.write_text("nothing")
    access = settings(kafka_security_protocol="SSL", **{name: file}).kafka_access("b:1")
    with pytest.raises(UnusableFileError, match=f"HANDFAST_{name.upper()}.*{file}"):
        access.options()
