"""Apache Kafka in the place of the embedded broker, wherever that would be started.

The package that brings the embedded broker takes another program for it from an environment variable. So
`put_in_place()` names one there that takes the same arguments and becomes Apache Kafka: `handfast up` and the
tests' own broker then run that, watch over it, kill it and freeze it as they would the other. Unlike that, it
keeps its records when `up` starts it again.
"""

import os
import sys
from pathlib import Path
from typing import Final

from tests.kafka import Kafka, origin
from tests.maven import CACHE, class_path, java
from tests.ports import free_ports

EMBEDDED: Final = "CALF_TANSU_BIN"
"""Names the program that is run as the embedded broker."""
HOME: Final = "KAFKA_IN_PLACE_HOME"
"""Names the directory to be used; without it, it is one beside the log that `up` has the broker write."""
_ROOT: Final = Path(__file__).resolve().parents[1]


def put_in_place() -> None:
    """Have Apache Kafka run as the embedded broker by this process and its children. Raises CannotRun."""
    java()
    class_path()
    program = CACHE / "kafka-in-place"
    path = [str(_ROOT), os.environ["PATH"]]
    lines = [
        f"#!{sys.executable} -P",
        "import os, sys",
        f"sys.path.insert(0, {path[0]!r})",
        f"os.environ['PATH'] = {path[1]!r}",
        "from tests.kafka_in_place import become_kafka",
        "become_kafka(sys.argv)",
    ]
    fresh = program.with_name(f"{program.name}.{os.getpid()}")
    fresh.write_text("\n".join(lines) + "\n")
    fresh.chmod(0o755)
    fresh.replace(program)
    os.environ[EMBEDDED] = str(program)


def become_kafka(arguments: list[str]) -> None:
    """Be Apache Kafka from now on, in this very process, at the address that the embedded broker is told."""
    address = arguments[arguments.index("--listener-url") + 1]
    home = _home()
    home.mkdir(parents=True, exist_ok=True)
    port = int(address.rpartition(":")[2])
    command = Kafka(home, origin(), [port, *free_ports(3)]).prepare()
    os.chdir(home)
    os.execv(command[0], command)  # noqa: S606 - a program of ours with arguments of ours


def _home() -> Path:
    if HOME in os.environ:
        return Path(os.environ[HOME])
    log = Path("/dev/fd/1").resolve()
    assert log.name == "broker.log", f"{log} is not where `up` has the broker write"
    return log.parent.with_name("kafka")
