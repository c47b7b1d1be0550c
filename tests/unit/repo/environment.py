"""Whether a program takes an environment that somebody wrote for it."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.settings import Settings

PASSWORD = "secret"


def taken(
    settings_class: type[Settings], values: Mapping[str, str], mounts: Path, patch: pytest.MonkeyPatch
) -> None:
    """Fail unless a program finds in its settings what the environment says, and a password in its file.

    mounts: a directory for what is mounted; the names of other programs' settings are left out.
    """
    for key, value in values.items():
        assert isinstance(value, str), f"{key}: quote it, so that no YAML reader changes it"
        patch.setenv(key, value)
    mounted = mounts / "database-password"
    mounted.write_text(PASSWORD, encoding="utf-8")
    patch.setenv("HANDFAST_DATABASE_PASSWORD_FILE", str(mounted))
    settings = settings_class(_env_file=None)
    for key in values.keys() - {"HANDFAST_DATABASE_PASSWORD_FILE"}:
        field = key.removeprefix("HANDFAST_").lower()
        if field in settings_class.model_fields:
            found = getattr(settings, field)
            assert (found.get_secret_value() if isinstance(found, SecretStr) else str(found)) == values[key]
    dsn = settings.database_dsn()
    assert dsn is not None
    assert dsn.get_secret_value() == values["HANDFAST_DATABASE_URL"].replace("@", f":{PASSWORD}@")
