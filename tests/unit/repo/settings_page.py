"""docs/settings.md, made from the settings' own descriptions: `make docs` writes it, a test compares it."""

import importlib
import re
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from shared.messaging.kafka_settings import KafkaSettings
from shared.security.settings import AuthenticationSettings
from shared.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[3]
PAGE: Final = ROOT / "docs" / "settings.md"
PROGRAMS: Final = {
    "The coordinator": "coordinator",
    "The order service": "order_service",
    "The stock service": "stock_service",
    "The payment service": "payment_service",
}

_HEAD: Final = """\
# Settings

Every setting is an environment variable, also read from a file `.env` in the directory where the program
starts; a variable of the environment wins. All are checked at start: a value that can't be used stops the
program with a message that names it. Lists and objects are written as JSON.

This page is made from the settings' own descriptions by `make docs`.
"""


def settings_classes() -> dict[str, type[Settings]]:
    """Return each program's settings class by package: the common one where a program adds nothing."""
    classes = {}
    for package in PROGRAMS.values():
        classes[package] = Settings
        if (ROOT / package / "settings.py").exists():
            module = importlib.import_module(f"{package}.settings")
            (classes[package],) = (
                found
                for found in vars(module).values()
                if isinstance(found, type)
                and issubclass(found, Settings)
                and found.__module__ == module.__name__
            )
    return classes


def variable(field: str) -> str:
    """Return the environment variable of a field."""
    return f"HANDFAST_{field.upper()}"


def render() -> str:
    """Return the whole page."""
    common, kafka, who = (one.model_fields for one in (Settings, KafkaSettings, AuthenticationSettings))
    parts = [_HEAD, "## Common to all programs\n"]
    parts.append(_table({name: field for name, field in common.items() if name not in kafka | who}))
    parts += ["## Apache Kafka, for all programs\n", _table(kafka)]
    parts += ["## Authentication, for all programs\n", _table(who)]
    for title, package in PROGRAMS.items():
        own = {
            name: field
            for name, field in settings_classes()[package].model_fields.items()
            if name not in common or repr(field) != repr(common[name])
        }
        if own:
            parts += [f"## {title}\n", _table(own)]
    return "\n".join(parts)


def _table(fields: dict[str, FieldInfo]) -> str:
    lines = ["| variable | default | what it is |", "|---|---|---|"]
    lines += [
        f"| `{variable(name)}` | {_default(field)} | {_cell(field.description or '')} |"
        for name, field in fields.items()
    ]
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        # Only the services' own URLs have one: they follow the port offset.
        url = field.get_default(call_default_factory=True, validated_data={"port_offset": 0})
        return f"`{url}`, plus the port offset"
    value: Any = field.default
    if value is PydanticUndefined:
        return "none: must be set"
    if value is None or value in ((), {}):
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
