"""What is deployed is what compose and Kubernetes understand, by their own schemas."""

import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deployment.composed import ROOT
from tests.deployment.kubernetes_schemas import CannotFetch, problems
from tests.kustomize import SITES, rendered

pytestmark = pytest.mark.at_length

COMPOSE_GO: Final = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"
"""What docker compose itself reads its files with."""


def read_by_compose(*files: Path) -> "subprocess.CompletedProcess[str]":
    go = shutil.which("go")
    if go is None:
        pytest.skip("NOT TESTED on compose's own schema: there is no go on the PATH")
    command = [go, "run", COMPOSE_GO, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if "failed to load project" not in done.stderr and done.returncode:
        pytest.skip(f"NOT TESTED on compose's own schema, which can't be built here: {done.stderr[-500:]}")
    return done


@pytest.mark.parametrize("over", [[], ["infra/compose/stripe.yml"]])
def test_compose_takes_the_file(over: list[str]) -> None:
    done = read_by_compose(ROOT / "docker-compose.yml", *(ROOT / name for name in over))
    assert done.returncode == 0, done.stderr


def test_compose_would_refuse_what_it_does_not_know(tmp_path: Path) -> None:
    misspelt = tmp_path / "docker-compose.yml"
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    misspelt.write_text(text.replace("read_only: true", "read_onyl: true"), encoding="utf-8")
    assert "read_onyl" in read_by_compose(misspelt).stderr


def wrong(resource: dict[str, Any]) -> list[str]:
    try:
        return problems(resource)
    except CannotFetch as reason:
        pytest.skip(f"NOT TESTED on Kubernetes's schemas: {reason}")


@pytest.mark.parametrize("site", SITES)
def test_kubernetes_takes_every_resource(site: str) -> None:
    found = {f"{one['kind']}/{one['metadata']['name']}": wrong(one) for one in rendered(site)}
    assert {name: said for name, said in found.items() if said} == {}


def test_kubernetes_would_refuse_what_it_does_not_know() -> None:
    (deployment, *_) = (one for one in rendered("base") if one["kind"] == "Deployment")
    spec = deployment["spec"]["template"]["spec"] | {"runAsNonRoot": True}
    misplaced = deployment | {"spec": deployment["spec"] | {"template": {"spec": spec}}}
    assert any("runAsNonRoot" in said for said in wrong(misplaced))
