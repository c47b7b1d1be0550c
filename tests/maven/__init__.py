"""Java for tests: what `pom.xml` names, from Maven Central by way of Maven, kept in `build/maven`.

The class path is looked up once for each version of the pom; the archives themselves lie where Maven keeps
them. Several test processes may ask at once: the first one fetches, the others wait.
"""

import contextlib
import fcntl
import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

POM: Final = Path(__file__).with_name("pom.xml")
READER: Final = Path(__file__).with_name("DeadLetterReader.java")
"""A program that reads dead letters as Spring Kafka would; Java runs it as it is."""
CACHE: Final = Path(__file__).resolve().parents[2] / "build" / "maven"
OLDEST_JAVA: Final = 17
_FETCH_SECONDS: Final = 600.0


class CannotRun(Exception):
    """There is no Java here, or no Maven, or what it should fetch can't be had."""


def java() -> str:
    """Return the path of a Java that is new enough."""
    found = shutil.which("java")
    if found is None:
        raise CannotRun("There is no java on the PATH.")
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise CannotRun(f"Java {OLDEST_JAVA} or newer is wanted; {found} says {said.splitlines()[:1]}.")
    return found


def class_path(pom: Path = POM) -> str:
    """Return the class path of what a pom depends on, fetched where it isn't there yet."""
    kept = CACHE / hashlib.sha256(pom.read_bytes()).hexdigest()[:16]
    with once_at_a_time():
        if not _is_whole(kept):
            _fetch(pom, kept)
    return kept.read_text()


@contextlib.contextmanager
def once_at_a_time() -> Iterator[None]:
    """Keep other processes from doing the same for the time of a block."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_whole(kept: Path) -> bool:
    return kept.exists() and all(Path(part).exists() for part in kept.read_text().split(":"))


def _fetch(pom: Path, kept: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise CannotRun("There is no mvn on the PATH.")
    goal = ["dependency:build-classpath", f"-Dmdep.outputFile={kept}", "-Dmdep.pathSeparator=:"]
    command = [maven, "--quiet", "--batch-mode", "-Dstyle.color=never", "--file", str(pom), *goal]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise CannotRun(f"Maven didn't fetch it within {_FETCH_SECONDS:.0f} s.") from error
    if done.returncode or not kept.exists():
        raise CannotRun(f"Maven can't fetch it: {(done.stdout + done.stderr)[-2_000:]}")
