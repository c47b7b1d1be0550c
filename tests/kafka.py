"""An Apache Kafka of the tests' own: one node in KRaft mode on free ports, by Maven or as a container.

It has three doors: one that is open, one that demands SASL (SCRAM or PLAIN) over TLS, one that demands a
client's certificate. Whoever comes by the open one may do everything, and so may the user `handfast` and
whoever has our certificate; the user `stranger` may do nothing. It lies on loopback, dies with its parent,
and its directory goes with it.

`python -m tests.kafka` runs one by itself and says where it is.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cli.lifeline import die_with_parent
from tests.maven import CACHE, CannotRun, class_path, java, once_at_a_time
from tests.ports import answers, free_ports

__all__ = ["CannotRun", "Kafka", "kafka_server"]

IMAGE: Final = "apache/kafka:4.1.1"
PASSWORD: Final = "not-to-be-seen-0c1f"
"""Of both users."""
STARTS_WITHIN: Final = 60.0
_STOPS_WITHIN: Final = 20.0
_CLUSTER: Final = "aGFuZGZhc3QtdGVzdHMtMQ"
_TOOL: Final = "kafka.tools.StorageTool"
_MECHANISMS: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512")


class Origin(Protocol):
    """Where Kafka comes from."""

    def command(self, home: Path) -> list[str]:
        """Return what a main class and its arguments are to be put behind."""
        ...

    def send(self, process: "subprocess.Popen[bytes]", home: Path, number: signal.Signals) -> None:
        """Have the server get a signal."""
        ...


class FromMaven:
    """Java with the archives that Maven fetched, small enough to share a machine."""

    _OPTIONS: Final = ("-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

    def __init__(self) -> None:
        self._command = [java(), *self._OPTIONS, "-cp", class_path()]

    def command(self, home: Path) -> list[str]:
        return [*self._command[:1], f"-Duser.dir={home}", *self._command[1:]]

    def send(self, process: "subprocess.Popen[bytes]", _home: Path, number: signal.Signals) -> None:
        process.send_signal(number)


class FromDocker:
    """The project's image, on the host's own network, with our directory as it is."""

    def __init__(self) -> None:
        docker = shutil.which("docker")
        if docker is None:
            raise CannotRun("There is no docker on the PATH.")
        asked = subprocess.run([docker, "info"], capture_output=True, text=True, check=False)
        if asked.returncode:
            raise CannotRun(f"No Docker engine answers: {asked.stderr.strip()[-200:]}")
        self._docker = docker

    def command(self, home: Path) -> list[str]:
        options = ["--rm", "--network=host", f"--user={os.getuid()}:{os.getgid()}", f"--volume={home}:{home}"]
        options += ["--env=KAFKA_HEAP_OPTS=-Xmx512m", f"--env=LOG_DIR={home}/logs"]
        run = "/opt/kafka/bin/kafka-run-class.sh"
        return [self._docker, "run", f"--name={home.name}", *options, f"--entrypoint={run}", IMAGE]

    def send(self, _process: "subprocess.Popen[bytes]", home: Path, number: signal.Signals) -> None:
        subprocess.run([self._docker, "kill", f"--signal={int(number)}", home.name], check=True)


class Kafka:
    """One server. bootstrap, sasl, mutual: the addresses of its three doors.

    ca, certificate, key: PEM files that a client needs for the guarded ones.
    """

    def __init__(self, home: Path, origin: Origin, ports: Sequence[int]) -> None:
        self._home = home
        self._origin = origin
        self._process: subprocess.Popen[bytes] | None = None
        self._data = home / "data"
        self.bootstrap, self.sasl, self.mutual, self._controller = (f"127.0.0.1:{port}" for port in ports)
        self.ca, self.certificate, self.key = (home / name for name in ("ca.pem", "client.pem", "client.key"))
        self._write_certificates()
        settings = _settings(self._doors(), self._controller, home)
        (home / "server.properties").write_text("".join(f"{n}={v}\n" for n, v in settings.items()))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def guarded(self, mechanism: str = "SCRAM-SHA-512") -> dict[str, str]:
        """Return the settings that get in by the door that demands SASL and TLS, without their prefix."""
        return {
            "kafka_bootstrap_servers": self.sasl,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": mechanism,
            "kafka_sasl_username": "handfast",
            "kafka_sasl_password": PASSWORD,
            "kafka_ca_file": str(self.ca),
        }

    def start(self) -> None:
        """Start it without anything in it, and return once it answers."""
        shutil.rmtree(self._data, ignore_errors=True)
        self.start_again()

    def start_again(self) -> None:
        """Start it with what it kept, and return once it answers."""
        self._process = self._run(self.prepare())
        deadline = time.monotonic() + STARTS_WITHIN
        while not answers(self.bootstrap):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise CannotRun(f"Kafka doesn't start: {self._said()}")
            time.sleep(0.02)

    def prepare(self) -> list[str]:
        """See to it that it has a directory; return the command that runs it."""
        if not self._data.exists():
            self._format()
        return [*self._origin.command(self._home), "kafka.Kafka", str(self._home / "server.properties")]

    def stop(self) -> None:
        """Have it write everything down and end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL it; what it kept is still there for start_again."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP it: its connections stay open, and nobody answers."""
        assert self._process is not None
        self._origin.send(self._process, self._home, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after freeze."""
        assert self._process is not None
        self._origin.send(self._process, self._home, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            if process.poll() is None:
                self._origin.send(process, self._home, how)
            process.wait(_STOPS_WITHIN)

    def _format(self) -> None:
        """Give it an empty directory with the users in it, which is the same for every server."""
        arguments = ["--cluster-id", _CLUSTER, "--config", str(self._home / "server.properties")]
        for mechanism in _MECHANISMS:
            for user in ("handfast", "stranger"):
                arguments += ["--add-scram", f"{mechanism}=[name={user},password={PASSWORD}]"]
        template = CACHE / f"formatted-{IMAGE.rpartition(':')[2]}"
        with once_at_a_time():
            if not template.exists():
                formatting = self._run([*self._origin.command(self._home), _TOOL, "format", *arguments])
                if formatting.wait(STARTS_WITHIN):
                    raise CannotRun(f"Kafka's directory can't be made: {self._said()}")
                shutil.move(self._data, template)
        shutil.copytree(template, self._data)

    def _run(self, command: list[str]) -> "subprocess.Popen[bytes]":
        with (self._home / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                preexec_fn=partial(die_with_parent, signal.SIGTERM),
            )

    def _said(self) -> str:
        return (self._home / "log").read_text(errors="replace")[-2_000:]

    def _doors(self) -> dict[str, str]:
        return {"OPEN": self.bootstrap, "GUARDED": self.sasl, "MUTUAL": self.mutual}

    def _write_certificates(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca)
        server, client = (
            authority.issue_cert("127.0.0.1", "localhost"),
            authority.issue_cert("client.test", common_name="certified"),
        )
        client.cert_chain_pems[0].write_to_path(self.certificate)
        client.private_key_pem.write_to_path(self.key)
        # Kafka reads keys in PKCS #8 alone.
        key = load_pem_private_key(server.private_key_pem.bytes(), None)
        pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = b"".join(pem.bytes() for pem in server.cert_chain_pems)
        (self._home / "server.pem").write_bytes(pkcs8 + chain)


def _settings(doors: Mapping[str, str], controller: str, home: Path) -> dict[str, Any]:
    """Return the server's settings, by name."""
    logins = "org.apache.kafka.common.security"
    listeners = {**doors, "CONTROLLER": controller}
    guarded = "listener.name.guarded"
    settings: dict[str, Any] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{controller}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "OPEN",
        "listeners": ",".join(f"{name}://{address}" for name, address in listeners.items()),
        "advertised.listeners": ",".join(f"{name}://{address}" for name, address in doors.items()),
        "listener.security.protocol.map": "OPEN:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_SSL,MUTUAL:SSL",
        "log.dirs": home / "data",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": home / "server.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": home / "ca.pem",
        "listener.name.mutual.ssl.client.auth": "required",
        f"{guarded}.sasl.enabled.mechanisms": ",".join(("PLAIN", *_MECHANISMS)),
        f"{guarded}.plain.sasl.jaas.config": f"{logins}.plain.PlainLoginModule required "
        f'user_handfast="{PASSWORD}" user_stranger="{PASSWORD}";',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
        "super.users": "User:ANONYMOUS;User:handfast;User:certified",
        # One node has to do for everything, and tests don't wait for members that might still come.
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 3,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 500,
        "log.index.size.max.bytes": 65_536,
    }
    for mechanism in _MECHANISMS:
        login = f"{guarded}.{mechanism.lower()}.sasl.jaas.config"
        settings[login] = f"{logins}.scram.ScramLoginModule required;"
    return settings


def origin() -> Origin:
    """Return where Kafka can be had from here. Raises CannotRun, saying why, where it can't be had at all."""
    try:
        return FromMaven()
    except CannotRun as why:
        try:
            return FromDocker()
        except CannotRun as neither:
            raise CannotRun(f"{why} {neither}") from neither


@contextlib.contextmanager
def kafka_server() -> Iterator[Kafka]:
    """Have a Kafka for the time of a block, started and empty. Raises CannotRun where there can't be one."""
    home = Path(tempfile.mkdtemp(prefix="handfast-kafka-"))
    try:
        running = Kafka(home, origin(), free_ports(4))
        try:
            running.start()
            yield running
        finally:
            running.kill()  # Nobody wants its data any more.
    finally:
        shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    """Run a Kafka until a signal comes, and say where it is."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with kafka_server() as running:
        print(f"HANDFAST_KAFKA_BOOTSTRAP_SERVERS={running.bootstrap}", flush=True)  # noqa: T201 - asked for
        stopped.wait()


if __name__ == "__main__":
    main()
