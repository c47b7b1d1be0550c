"""The manifests of infra/kubernetes as `kubectl kustomize` puts them together."""

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

HOME: Final = Path(__file__).resolve().parents[1] / "infra" / "kubernetes"
SITES: Final = ("base", "production")


@functools.cache
def rendered(site: str) -> tuple[dict[str, Any], ...]:
    """Return the resources of a directory; skips the test, and says so, where there is no kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("NOT TESTED on Kubernetes's manifests: there is no kubectl on the PATH")
    done = subprocess.run(
        [kubectl, "kustomize", str(HOME / site)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(site: str, *kinds: str) -> dict[str, dict[str, Any]]:
    """Return the resources of these kinds by name."""
    return {one["metadata"]["name"]: one for one in rendered(site) if one["kind"] in kinds}
