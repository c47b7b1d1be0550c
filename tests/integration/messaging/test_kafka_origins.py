"""Where the tests' Kafka comes from: Maven, else Docker, else it is said why there is none."""

import sys
from pathlib import Path

import pytest

from tests import kafka as ours
from tests.kafka import IMAGE, FromDocker, Kafka
from tests.maven import CannotRun, class_path, java
from tests.ports import free_ports

STAND_IN = """#!{python}
# An engine that runs a container's program on this machine, with what Maven brought for the image.
import os, signal, subprocess, sys
arguments = sys.argv[1:]
if arguments[0] == "info":
    sys.exit(0)
elif arguments[0] == "run":
    name = next(a for a in arguments if a.startswith("--name=")).removeprefix("--name=")
    entry = next(i for i, a in enumerate(arguments) if a.startswith("--entrypoint="))
    assert arguments[entry + 1] == {image!r}
    with open({pids!r} + name, "w") as pid:
        pid.write(str(os.getpid()))
    os.execv({java!r}, [{java!r}, "-Xmx512m", "-cp", {class_path!r}, *arguments[entry + 2:]])
elif arguments[0] == "kill":
    number = int(arguments[1].removeprefix("--signal="))
    os.kill(int(open({pids!r} + arguments[2]).read()), number)
"""


def put_on_path(monkeypatch: pytest.MonkeyPatch, directory: Path, name: str, program: str) -> None:
    place = directory / name
    place.write_text(program)
    place.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))


@pytest.mark.on_kafka
def test_docker_runs_the_same_server_by_the_same_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a stand-in for the engine: what is tried is what it would be told, not the image."""
    programs, home = tmp_path / "bin", tmp_path / "home"
    programs.mkdir()
    home.mkdir()
    told = {"python": sys.executable, "image": IMAGE, "pids": f"{tmp_path}/pid-of-"}
    put_on_path(
        monkeypatch,
        programs,
        "docker",
        STAND_IN.format(**told, java=java(), class_path=class_path()),
    )
    running = Kafka(home, FromDocker(), free_ports(4))
    running.start()
    try:
        running.freeze()
        running.thaw()
    finally:
        running.kill()
    assert running.guarded()["kafka_bootstrap_servers"] == running.sasl


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotRun, match=r"no java on the PATH.*no docker on the PATH"):
        ours.origin()
    put_on_path(monkeypatch, tmp_path, "docker", "#!/bin/sh\necho no engine >&2\nexit 1\n")
    with pytest.raises(CannotRun, match=r"no java on the PATH.*No Docker engine answers: no engine"):
        ours.origin()
    put_on_path(monkeypatch, tmp_path, "java", "#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    with pytest.raises(CannotRun, match="Java 17 or newer is wanted"):
        ours.origin()
