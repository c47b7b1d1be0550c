"""The JSON schemas of Kubernetes's resources, fetched once by pip as `schemas.txt` pins them."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jsonschema_rs

from tests.maven import once_at_a_time

RELEASE: Final = "v1.34.0"
"""The release of Kubernetes that the manifests are written for."""
_PINNED: Final = Path(__file__).with_name("schemas.txt")
_CACHE: Final = Path(__file__).resolve().parents[2] / "build" / "kubernetes"
_STRICT: Final = f"kubernetes_validate/kubernetes-json-schema/{RELEASE}-local-strict"
"""Those that take no field they don't know."""


class CannotFetch(Exception):
    """The schemas can't be had here."""


def problems(resource: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a resource. Raises CannotFetch, saying why, where there are no schemas."""
    with zipfile.ZipFile(_fetched()) as archive:

        def read(uri: str) -> Any:
            return json.loads(archive.read(f"{_STRICT}/{uri.rpartition('/')[2]}"))

        group, _, version = resource["apiVersion"].rpartition("/")
        parts = [resource["kind"], *group.split(".")[:1], version]
        name = "-".join(part for part in parts if part).lower() + ".json"
        validator = jsonschema_rs.validator_for(
            read(name), base_uri=f"kubernetes:///{name}", retriever=read, offline=False
        )
        return [
            f"{'/'.join(map(str, one.instance_path))}: {one.message}"
            for one in validator.iter_errors(resource)
        ]


def _fetched() -> Path:
    with once_at_a_time():
        found = list(_CACHE.glob("*.whl"))
        if not found:
            _fetch()
            found = list(_CACHE.glob("*.whl"))
    return found[0]


def _fetch() -> None:
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", f"--requirement={_PINNED}"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, f"--dest={_CACHE}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotFetch(f"pip can't fetch them: {done.stderr[-500:]}")
