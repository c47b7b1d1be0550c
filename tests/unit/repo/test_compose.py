"""docker-compose.yml and the image stay honest, though no container engine runs here."""

import importlib
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.ready import PORTS as PROBED_PORTS
from shared.settings import PORTS, Settings
from tests.deployment.composed import env_file, services
from tests.unit.repo.environment import taken
from tests.unit.repo.settings_page import ROOT, settings_classes, variable

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES = services()
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("handfast:")}
PROGRAMS = {
    "coordinator": "coordinator",
    "order": "order_service",
    "stock": "stock_service",
    "payment": "payment_service",
}
ONCE = {"migrate", "connector"}
CDC = env_file(ROOT / "infra" / "compose" / "cdc.env")
CONNECTOR: dict[str, str] = json.loads((ROOT / "infra" / "cdc" / "outbox.json").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "infra" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
every_program = pytest.mark.parametrize("name", sorted(PROGRAMS))
every_service = pytest.mark.parametrize("name", sorted(SERVICES))


def environment(service: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for key, value in service["environment"].items() if key.startswith("HANDFAST_")}


def test_the_stack_is_the_programs_and_what_they_stand_on() -> None:
    stores = {"kafka", "postgres", "valkey"}
    assert set(SERVICES) == {"front-door", *PROGRAMS, "migrate", *stores, "connect", "connector"}


@every_program
def test_every_variable_is_a_setting(name: str) -> None:
    known = {variable(field) for field in settings_classes()[PROGRAMS[name]].model_fields}
    assert set(environment(OURS[name])) - known == set()


@every_program
@pytest.mark.parametrize("variables", [{}, CDC], ids=["relay", "cdc"])
def test_every_value_is_taken_by_the_settings(
    name: str, variables: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = environment(services(variables)[name])
    taken(settings_classes()[PROGRAMS[name]], values, tmp_path, monkeypatch)


@every_program
def test_programs_call_each_other_by_the_names_of_the_services(name: str) -> None:
    for other in PROGRAMS:
        assert environment(OURS[name])[variable(f"{other}_url")] == f"http://{other}:{PORTS[other]}"


def test_only_the_front_door_is_published_and_on_loopback_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"front-door": [f"127.0.0.1:{PORTS['order']}:{PORTS['order']}"]}
    assert environment(OURS["order"])["HANDFAST_PUBLIC_URL"] == f"http://127.0.0.1:{PORTS['order']}"


def test_the_front_door_leads_to_the_orders_and_nowhere_else() -> None:
    configured = (ROOT / "infra" / "front-door" / "haproxy.cfg").read_text(encoding="utf-8")
    assert re.findall(r"^ +server-template order 1-\d+ (\S+)", configured, re.MULTILINE) == [
        f"order:{PORTS['order']}"
    ]
    assert re.findall(r"^ +bind (\S+)", configured, re.MULTILINE) == [f":{PORTS['order']}"]
    assert SERVICES["front-door"]["networks"] == ["front"]
    assert {name for name, service in SERVICES.items() if "front" in service.get("networks", [])} == {
        "front-door",
        "order",
    }


@every_program
def test_the_command_starts_a_program_that_exists(name: str) -> None:
    python, dash_m, module = OURS[name]["command"]
    assert (python, dash_m) == ("python", "-m")
    assert module == f"{PROGRAMS[name]}.app"
    assert callable(importlib.import_module(module).main)


@every_program
def test_a_program_waits_for_what_it_needs_and_can_be_there_twice(name: str) -> None:
    needs = OURS[name]["depends_on"]
    assert needs["migrate"] == {"condition": "service_completed_successfully"}
    assert needs["kafka"] == {"condition": "service_healthy"}
    # Of a profile that isn't chosen nothing is waited for.
    assert needs["connector"] == {"condition": "service_completed_successfully", "required": False}
    assert {"container_name", "ports", "hostname"} & OURS[name].keys() == set()
    drains = float(environment(OURS[name])["HANDFAST_DRAIN_SECONDS"])
    assert OURS[name]["stop_grace_period"] == f"{drains + 20:.0f}s", "see docs/operations.md"


def test_the_schema_is_migrated_once_the_database_is_there() -> None:
    assert OURS["migrate"]["command"] == ["handfast", "db", "upgrade"]
    assert OURS["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_the_programs_use_the_broker_that_kafka_advertises() -> None:
    advertised = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    inside = dict(listener.split("://") for listener in advertised.split(","))["INTERNAL"]
    assert {environment(service)["HANDFAST_KAFKA_BOOTSTRAP_SERVERS"] for service in OURS.values()} == {inside}
    assert SERVICES["connect"]["environment"]["BOOTSTRAP_SERVERS"] == inside


def test_every_mounted_file_exists_and_every_volume_is_declared() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source, *_, last = mount.split(":")
            if source.startswith((".", "/")):
                assert (ROOT / source).is_file(), source
                assert last == "ro", f"{source} is ours to change, and nobody else's"
            else:
                assert source in COMPOSE["volumes"], source
    for service in OURS.values():
        assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_every_secret_is_a_file_that_make_makes() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (made,) = re.findall(r"^SECRETS := (.+)$", makefile, re.MULTILINE)
    assert {f".secrets/{name}" for name in made.split()} == {
        secret["file"] for secret in COMPOSE["secrets"].values()
    }
    for service in SERVICES.values():
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
    assert "\n.secrets/\n" in (ROOT / ".gitignore").read_text(encoding="utf-8")


@every_service
def test_no_secret_is_in_an_environment(name: str) -> None:
    said = " ".join(str(value) for value in SERVICES[name].get("environment", {}).values())
    assert re.search(r"://[^/@ ]*:[^/@ ]*@", said) is None
    for key in SERVICES[name].get("environment", {}):
        assert not re.search("PASSWORD|KEY|SECRET", key) or key.endswith("_FILE"), key


@every_service
def test_a_container_holds_no_privileges_and_has_its_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not service.get("privileged", False)
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    # Debezium's image names a user of its own.
    user = service.get("user", "1001" if "debezium" in service["image"] else "0").partition(":")[0]
    assert int(user) > 0


@every_service
def test_what_stays_up_is_watched_and_what_runs_once_is_not(name: str) -> None:
    service = SERVICES[name]
    if name in ONCE:
        assert (service["restart"], service["healthcheck"]) == ("no", {"disable": True})
    elif name not in OURS:  # The image of ours has its own check.
        assert {"test", "interval", "timeout", "retries", "start_period"} == set(service["healthcheck"])


def test_the_stores_can_be_reached_by_nobody_outside() -> None:
    for name in ("postgres", "kafka", "valkey", "connect"):
        for network in SERVICES[name]["networks"]:
            assert COMPOSE["networks"][network] == {"internal": True}


def test_the_connector_is_in_its_profile_and_follows_what_the_programs_publish() -> None:
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["cdc"]} == {
        "connect",
        "connector",
    }
    assert CDC == {"COMPOSE_PROFILES": "cdc", "HANDFAST_OUTBOX": "cdc"}
    slot = Settings(_env_file=None).outbox_slot
    assert (CONNECTOR["slot.name"], CONNECTOR["publication.name"]) == (slot, slot)
    for name in PORTS:
        assert re.fullmatch(CONNECTOR["table.include.list"], f"handfast_{name}.outbox")
    assert "wal_level=logical" in SERVICES["postgres"]["command"]
    user = CONNECTOR["database.user"]
    assert f"CREATE ROLE {user} " in (ROOT / "infra" / "postgres" / "roles.sql").read_text(encoding="utf-8")
    assert CONNECTOR["database.password"] == "${dir:/run/secrets:debezium-password}"
    assert SERVICES["connect"]["secrets"] == ["debezium-password"]


def test_every_image_is_pinned_to_a_version() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert [image for image in images if not re.search(r":\d+\.\d+", image)] == []


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
    (user,) = re.findall(r"^USER (\d+:\d+)$", final, re.MULTILINE)
    assert int(user.partition(":")[0]) >= 10_000
    assert {service["user"] for service in OURS.values()} == {user}
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
