"""docs/settings.md lists every setting with its default and unit, and nothing else."""

import re

import pytest
from pydantic import ValidationError

from shared.settings import Settings
from tests.unit.repo.settings_page import PAGE, ROOT, render, settings_classes, variable


def test_the_page_is_what_the_settings_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "docs/settings.md is out of date: run `make docs`"


@pytest.mark.parametrize("package", sorted(settings_classes()))
def test_every_setting_says_what_it_is(package: str) -> None:
    fields = settings_classes()[package].model_fields
    assert [name for name, field in fields.items() if len(field.description or "") < 15] == []


@pytest.mark.parametrize("package", sorted(settings_classes()))
def test_every_duration_and_size_names_its_unit(package: str) -> None:
    """Who reads only the variable's name or its description must know what is counted."""
    fields = settings_classes()[package].model_fields
    numbers = [name for name, field in fields.items() if field.annotation in (int, float)]
    counted = re.compile(
        r"second|hours|byte|port|partition|replica|at once|connections|records|rows|number|attempts|orders"
    )
    assert [name for name in numbers if not counted.search((fields[name].description or "").lower())] == []


def test_the_port_offset_moves_every_default_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable("port_offset"), "1000")
    settings = Settings(_env_file=None)
    assert settings.url("coordinator") == "http://127.0.0.1:9886"
    assert settings.bootstrap == "127.0.0.1:10092"


@pytest.mark.parametrize("package", sorted(settings_classes()))
def test_settings_are_frozen(package: str) -> None:
    settings = settings_classes()[package](_env_file=None)
    with pytest.raises(ValidationError, match="frozen"):
        settings.host = "0.0.0.0"  # type: ignore[misc]  # noqa: S104


def test_no_variable_is_spoken_of_that_no_program_knows() -> None:
    """A name in code or documents that the settings don't have is a setting that silently does nothing."""
    known = {variable(field) for settings in settings_classes().values() for field in settings.model_fields}
    infra = [file for file in ROOT.glob("infra/**/*") if file.is_file()]
    files = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md"), *infra, ROOT / "Makefile"]
    for package in (*settings_classes(), "shared", "cli"):
        files += (ROOT / package).rglob("*.py")
    spoken = re.compile(r"HANDFAST_[A-Z]+(?:_[A-Z]+)*\b(?!_|<|\{)")
    unknown = {
        (file.relative_to(ROOT).as_posix(), name)
        for file in files
        for name in spoken.findall(file.read_text(encoding="utf-8"))
        if name not in known
    }
    assert unknown == set()
