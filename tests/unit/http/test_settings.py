from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.health import Health
from shared.settings import PORTS, Settings, database_path


def test_the_port_offset_moves_every_default() -> None:
    moved = Settings(_env_file=None, port_offset=100)
    assert moved.bootstrap == "127.0.0.1:9192"
    assert [moved.port(program) for program in PORTS] == [8986, 8987, 8988, 8989]
    assert moved.url("stock") == moved.own_url("stock") == "http://127.0.0.1:8988"


def test_what_is_given_is_not_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFAST_STOCK_URL", "https://stock.test/base/")
    monkeypatch.setenv("HANDFAST_KAFKA_BOOTSTRAP_SERVERS", "a:1,b:2")
    monkeypatch.setenv("HANDFAST_PUBLIC_URL", "https://public.test/")
    given = Settings(_env_file=None, port_offset=100)
    assert given.url("stock") == "https://stock.test/base"
    assert given.url("order") == "http://127.0.0.1:8987"
    assert given.own_url("stock") == "https://public.test"
    assert given.bootstrap == "a:1,b:2"


def test_a_topics_own_retry_goes_before_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFAST_RETRY", "fixed:2s,5")
    monkeypatch.setenv("HANDFAST_RETRY_STOCK_ADJUSTMENT", "exponential:1s,2.0,10s,6")
    settings = Settings(_env_file=None)
    assert settings.retry_for("stock-adjustment") == "exponential:1s,2.0,10s,6"
    assert settings.retry_for("payment-capture") == "fixed:2s,5"
    assert settings.retry_for("some-other") == "fixed:2s,5"


def test_settings_never_change() -> None:
    with pytest.raises(ValidationError):
        Settings(_env_file=None).port_offset = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT_OFFSET", "-1"),
        ("PORT_OFFSET", "x"),
        ("PARTITIONS", "0"),
        ("LOG_FORMAT", "xml"),
        ("SWEEP_SECONDS", "0"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"HANDFAST_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings(_env_file=None)


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_each_program_has_a_file_of_its_own() -> None:
    settings = Settings(_env_file=None, data_dir=Path("/data"))
    assert database_path(settings, "stock") == Path("/data/stock.db")


def test_health_names_what_is_wrong() -> None:
    health = Health()
    health.add("database", lambda: None)
    assert health.problems() == {}
    health.add("relay", lambda: "The broker is away.")

    def crash() -> str | None:
        raise ZeroDivisionError("a secret")

    health.add("consumer", crash)
    assert health.problems() == {
        "relay": "The broker is away.",
        "consumer": "The check failed: ZeroDivisionError.",
    }


def test_a_databases_password_may_lie_in_a_file(tmp_path: Path) -> None:
    mounted = tmp_path / "password"
    mounted.write_text("p@ss/w:rd %\n", encoding="utf-8")
    settings = Settings(
        _env_file=None, database_url="postgresql://u@h:5433/d?sslmode=require", database_password_file=mounted
    )
    dsn = settings.database_dsn()
    assert dsn is not None
    assert dsn.get_secret_value() == "postgresql://u:p%40ss%2Fw%3Ard%20%25@h:5433/d?sslmode=require"
    assert "p@ss" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "said"),
    [("postgresql://u:known@h/d", "no password"), ("postgresql://h/d", "name a user")],
)
def test_a_password_that_has_two_places_or_no_owner_is_named(tmp_path: Path, url: str, said: str) -> None:
    mounted = tmp_path / "password"
    mounted.write_text("secret", encoding="utf-8")
    with pytest.raises(ValidationError, match=said) as refused:
        Settings(_env_file=None, database_url=url, database_password_file=mounted)
    assert "known" not in str(refused.value)


def test_what_is_wrong_is_said_without_what_is_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFAST_DATABASE_URL", "mysql://u:pw@h")
    monkeypatch.setenv("HANDFAST_OUTBOX", "cdc")
    with pytest.raises(ValidationError, match="postgresql://user:password@host") as refused:
        Settings(_env_file=None)
    assert "u:pw" not in str(refused.value)


def test_a_password_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="HANDFAST_DATABASE_PASSWORD_FILE can't be read"):
        Settings(
            _env_file=None, database_url="postgresql://u@h/d", database_password_file=tmp_path / "nowhere"
        )


def test_only_postgresql_can_be_captured() -> None:
    with pytest.raises(ValidationError, match="set HANDFAST_DATABASE_URL"):
        Settings(_env_file=None, outbox="cdc")
