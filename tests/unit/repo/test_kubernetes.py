"""The manifests of infra/kubernetes fit the programs: their settings, ports, probes and manners."""

from pathlib import Path
from typing import Any

import pytest

from shared.settings import PORTS
from tests.kustomize import SITES, of_kind, rendered
from tests.unit.repo.environment import taken
from tests.unit.repo.settings_page import ROOT, settings_classes, variable
from tests.unit.repo.test_compose import PROGRAMS

every_site = pytest.mark.parametrize("site", SITES)
every_program = pytest.mark.parametrize("name", sorted(PROGRAMS))
STOPS_WITHIN = 20
"""Seconds that a program may need once it has drained (docs/operations.md)."""
POD_OWNERS = ("Deployment", "Job")


def pods(site: str) -> dict[str, dict[str, Any]]:
    """Return what every pod is made of, by the name of who makes it."""
    return {name: one["spec"]["template"]["spec"] for name, one in of_kind(site, *POD_OWNERS).items()}


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    found: dict[str, Any] = only
    return found


def settings_of(site: str, pod: dict[str, Any]) -> dict[str, str]:
    """Return the variables of a pod: of the map that it names."""
    (source,) = container(pod)["envFrom"]
    data: dict[str, str] = of_kind(site, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    return data


@every_site
def test_the_site_is_the_four_programs_and_a_migration(site: str) -> None:
    assert set(pods(site)) == {*PROGRAMS, "migrate"}
    assert of_kind(site, "Secret") == {}, "a secret is made by whoever knows it"


@every_site
@every_program
def test_every_variable_is_a_setting_and_taken(
    site: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = settings_of(site, pods(site)[name])
    classes = settings_classes()
    known = {variable(field) for settings in classes.values() for field in settings.model_fields}
    assert set(values) - known == set()
    taken(classes[PROGRAMS[name]], values, tmp_path, monkeypatch)


@every_site
@every_program
def test_a_service_leads_to_the_port_of_its_program(site: str, name: str) -> None:
    assert container(pods(site)[name])["ports"] == [{"name": "http", "containerPort": PORTS[name]}]
    service = of_kind(site, "Service")[name]
    (port,) = service["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (PORTS[name], "http")
    labels = of_kind(site, "Deployment")[name]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert settings_of(site, pods(site)[name])[variable(f"{name}_url")] == f"http://{name}:{PORTS[name]}"


@every_site
@every_program
def test_a_program_is_started_as_the_image_has_it_and_watched_by_its_own_routes(site: str, name: str) -> None:
    program = container(pods(site)[name])
    assert program["command"] == ["python", "-m", f"{PROGRAMS[name]}.app"]
    asked = {
        probe: program[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    alive, ready = {"path": "/livez", "port": "http"}, {"path": "/readyz", "port": "http"}
    assert asked == {"startupProbe": alive, "livenessProbe": alive, "readinessProbe": ready}


@every_site
@every_program
def test_a_program_is_replaced_without_ever_being_missed(site: str, name: str) -> None:
    deployment = of_kind(site, "Deployment")[name]["spec"]
    scaled = of_kind(site, "HorizontalPodAutoscaler").get(name)
    assert ("replicas" in deployment) == (scaled is None), "one says how many there are, and not two"
    assert (deployment["replicas"] if scaled is None else scaled["spec"]["minReplicas"]) >= 2
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    pod = deployment["template"]["spec"]
    drains = float(settings_of(site, pod)["HANDFAST_DRAIN_SECONDS"])
    assert pod["terminationGracePeriodSeconds"] == drains + STOPS_WITHIN
    budget = of_kind(site, "PodDisruptionBudget")[name]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= deployment["template"]["metadata"]["labels"].items()


@every_site
def test_a_pod_has_no_rights(site: str) -> None:
    accounts = of_kind(site, "ServiceAccount")
    for name, pod in pods(site).items():
        assert accounts[pod["serviceAccountName"]]["automountServiceAccountToken"] is False
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False), name
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} == set(container(pod)["resources"])
        (user,) = {
            line.split()[1].partition(":")[0]
            for line in (ROOT / "infra" / "Dockerfile").read_text(encoding="utf-8").splitlines()
            if line.startswith("USER ")
        }
        assert str(pod["securityContext"]["runAsUser"]) == user


@every_site
def test_the_password_is_mounted_where_the_settings_look_for_it(site: str) -> None:
    for name, pod in pods(site).items():
        (volume,) = (volume for volume in pod["volumes"] if "secret" in volume)
        (mount,) = (mount for mount in container(pod)["volumeMounts"] if mount["name"] == volume["name"])
        (item,) = volume["secret"]["items"]
        where = settings_of(site, pod)["HANDFAST_DATABASE_PASSWORD_FILE"]
        assert where == f"{mount['mountPath']}/{item['path']}", name


@every_site
def test_what_no_policy_allows_is_refused(site: str) -> None:
    policies = of_kind(site, "NetworkPolicy")
    shut = policies["handfast-nothing-else"]["spec"]
    assert (shut["policyTypes"], "ingress" in shut, "egress" in shut) == (["Ingress", "Egress"], False, False)
    for name, deployment in of_kind(site, *POD_OWNERS).items():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert shut["podSelector"]["matchLabels"].items() <= labels.items(), name
    (ports,) = policies["handfast-programs"]["spec"]["ingress"]
    assert ports["ports"] == [{"port": min(PORTS.values()), "endPort": max(PORTS.values())}]


@every_site
def test_every_image_is_pinned_to_the_version_that_compose_builds(site: str) -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert {container(pod)["image"] for pod in pods(site).values()} == {"handfast:0.1.0"}
    assert "image: handfast:0.1.0\n" in compose


def test_everything_of_a_site_is_in_its_namespace() -> None:
    everything = [one for one in rendered("production") if one["kind"] != "Namespace"]
    assert {one["metadata"].get("namespace") for one in everything} == {"handfast"}
