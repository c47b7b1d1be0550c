"""docker-compose.yml and the image stay honest, though no container engine runs here."""

import importlib
import re
import shlex
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from infra.ready import PORTS as PROBED_PORTS
from shared.settings import PORTS
from tests.unit.repo.settings_page import ROOT, settings_classes, variable

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("handfast:")}
PROGRAMS = {
    "coordinator": "coordinator",
    "order": "order_service",
    "stock": "stock_service",
    "payment": "payment_service",
}
DOCKERFILE = (ROOT / "infra" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
every_program = pytest.mark.parametrize("name", sorted(PROGRAMS))


def environment(service: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for key, value in service["environment"].items() if key.startswith("HANDFAST_")}


def test_the_stack_is_kafka_a_migration_and_the_four_programs() -> None:
    assert set(SERVICES) == {"kafka", "migrate", *PROGRAMS}


@every_program
def test_every_variable_is_a_setting(name: str) -> None:
    known = {variable(field) for field in settings_classes()[PROGRAMS[name]].model_fields}
    assert set(environment(OURS[name])) - known == set()


@every_program
def test_every_value_is_taken_by_the_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = environment(OURS[name])
    for key, value in values.items():
        assert isinstance(value, str), f"{key}: quote it, so that no YAML reader changes it"
        monkeypatch.setenv(key, value)
    settings = settings_classes()[PROGRAMS[name]](_env_file=None)
    for key, value in values.items():
        assert str(getattr(settings, key.removeprefix("HANDFAST_").lower())) == value


@every_program
def test_programs_call_each_other_by_the_names_of_the_services(name: str) -> None:
    for other in PROGRAMS:
        assert environment(OURS[name])[variable(f"{other}_url")] == f"http://{other}:{PORTS[other]}"


@every_program
def test_every_program_listens_inside_and_is_published_on_loopback_only(name: str) -> None:
    assert environment(OURS[name])["HANDFAST_HOST"] == "0.0.0.0"  # noqa: S104 - within its own network
    assert OURS[name]["ports"] == [f"127.0.0.1:{PORTS[name]}:{PORTS[name]}"]


@pytest.mark.parametrize("name", ["order", "stock", "payment"])
def test_links_that_a_program_hands_out_work_where_it_is_published(name: str) -> None:
    assert environment(OURS[name])["HANDFAST_PUBLIC_URL"] == f"http://127.0.0.1:{PORTS[name]}"


def test_nothing_is_published_beyond_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert [port for port in published if not str(port).startswith("127.0.0.1:")] == []


@every_program
def test_the_command_starts_a_program_that_exists(name: str) -> None:
    python, dash_m, module = OURS[name]["command"]
    assert (python, dash_m) == ("python", "-m")
    assert module == f"{PROGRAMS[name]}.app"
    assert callable(importlib.import_module(module).main)


def test_the_schema_is_migrated_before_a_program_starts() -> None:
    assert OURS["migrate"]["command"] == ["handfast", "db", "upgrade"]
    for name in PROGRAMS:
        assert OURS[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "kafka": {"condition": "service_healthy"},
        }


def test_the_programs_use_the_broker_that_kafka_advertises() -> None:
    advertised = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    inside = dict(listener.split("://") for listener in advertised.split(","))["INTERNAL"]
    assert {environment(service)["HANDFAST_KAFKA_BOOTSTRAP_SERVERS"] for service in OURS.values()} == {inside}


def test_every_mounted_file_exists_and_every_volume_is_declared() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith((".", "/")):
                assert (ROOT / source).exists(), source
            else:
                assert source in COMPOSE["volumes"], source
    for service in OURS.values():
        assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_data_is_kept_in_the_volume() -> None:
    for service in OURS.values():
        assert service["volumes"] == [f"handfast-data:{environment(service)['HANDFAST_DATA_DIR']}"]


def test_containers_hold_no_privileges() -> None:
    for service in OURS.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True
        assert not service.get("privileged", False)


def test_every_image_is_pinned_to_a_version() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert [image for image in images if not re.search(r":\d+\.\d+\.\d+", image)] == []


def test_everything_the_image_copies_exists_and_is_let_in() -> None:
    let_in = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copies = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    sources = {source for copy in copies for source in shlex.split(copy)[:-1]}
    assert {source for source in sources if not (ROOT / source).exists()} == set()
    assert sources == let_in
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").startswith("*\n")


def test_the_image_holds_every_package_that_is_shipped() -> None:
    shipped = {path.parent.name for path in ROOT.glob("*/py.typed")}
    assert {package for package in shipped if f"\nCOPY {package} {package}\n" not in DOCKERFILE} == set()


def test_the_image_runs_without_root_and_checks_its_health() -> None:
    final = DOCKERFILE.split("\nFROM ")[-1]
    (user,) = re.findall(r"^USER (\d+):\d+$", final, re.MULTILINE)
    assert int(user) >= 10_000
    assert re.search(r"^HEALTHCHECK .*CMD \[\"python\", \"/opt/handfast/ready\.py\"\]$", final, re.MULTILINE)
    assert "COPY infra/ready.py /opt/handfast/ready.py" in final


def test_the_image_installs_only_what_the_lock_files_pin() -> None:
    installs = re.findall(r"pip install ([^&\n]+)", DOCKERFILE)
    assert installs
    for install in installs:
        assert "--require-hashes" in install or "--no-deps" in install, install
    assert "--no-build-isolation" in DOCKERFILE


def test_the_health_check_asks_every_port_of_the_contract() -> None:
    assert set(PROBED_PORTS) == set(PORTS.values())
    (exposed,) = re.findall(r"^EXPOSE (.+)$", DOCKERFILE, re.MULTILINE)
    assert {int(port) for port in exposed.split()} == set(PORTS.values())
