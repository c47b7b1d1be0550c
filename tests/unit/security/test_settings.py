"""Settings of authentication that don't go together stop the start, and no secret is ever repeated."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shared.clock import SystemClock
from shared.http.asgi_caller import AsgiCaller
from shared.security.service import NoCredentials, secure
from shared.settings import Settings
from tests.issuer import SECRET

ISSUER = "https://issuer.test"


def settings(**given: Any) -> Settings:
    return Settings(_env_file=None, **given)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"auth_issuer": ISSUER, "auth_shared_secret": SECRET}, "exclude each other"),
        ({"auth_issuer": "http://issuer.test"}, "must be https"),
        ({"auth_issuer": "issuer.test"}, "must be https"),
        ({"auth_shared_secret": "too short"}, "at least 32 bytes"),
        ({"auth_shared_secret_file": "/nowhere/secret"}, "can't be read"),
        ({"auth_shared_secret": SECRET, "auth_shared_secret_file": "/nowhere/secret"}, "set either"),
        ({"auth_issuer": ISSUER, "auth_client_secret": "s3", "auth_client_secret_file": "/f"}, "set either"),
        ({"host": "0.0.0.0"}, "without authentication"),  # noqa: S104
        ({"host": "::"}, "without authentication"),
        ({"host": "192.0.2.1"}, "without authentication"),
        ({"host": "shop.example"}, "without authentication"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why) as refused:
        settings(**given)
    told = str(refused.value)
    assert SECRET not in told
    assert "too short" not in told
    assert "s3" not in told


def test_beyond_this_machine_is_bound_with_authentication_or_when_told() -> None:
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        assert settings(host=host).host == host
    assert settings(host="0.0.0.0", auth_shared_secret=SECRET).authenticated  # noqa: S104
    assert settings(host="0.0.0.0", auth_issuer=ISSUER).authenticated  # noqa: S104
    assert not settings(host="0.0.0.0", allow_unauthenticated=True).authenticated  # noqa: S104


def test_empty_is_not_set() -> None:
    empty = {"auth_issuer": "", "auth_shared_secret": "", "auth_client_secret_file": "", "token": ""}
    assert not settings(**empty).authenticated
    assert settings(**empty).token is None


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    assert settings(auth_shared_secret_file=file).shared_secret() == SECRET.encode()


def test_no_secret_shows_in_what_settings_say_of_themselves() -> None:
    secrets = {"auth_client_secret": "client's own secret", "token": "a.token"}
    for given in ({"auth_shared_secret": SECRET}, {"auth_issuer": ISSUER}):
        told = repr(settings(**given, **secrets))
        assert not any(secret in told for secret in (SECRET, *secrets.values()))


def test_a_program_that_can_not_prove_who_it_is_does_not_start() -> None:
    import random

    for given in ({}, {"auth_client_secret_file": "/nowhere/{program}"}):
        with pytest.raises(NoCredentials, match="HANDFAST_AUTH_CLIENT_SECRET"):
            secure(
                settings(auth_issuer=ISSUER, **given),
                "stock",
                AsgiCaller({}),
                SystemClock(),
                random.Random(),
            )
