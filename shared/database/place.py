"""Where a program's data lies: in a SQLite file of its own, or in its own schema of a PostgreSQL database."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

SCHEMES: Final = frozenset({"postgresql", "postgresql+asyncpg", "postgres"})
"""What the URL of a PostgreSQL database begins with."""


@dataclass(frozen=True, slots=True)
class Schema:
    """One schema of a PostgreSQL database. url: with the password, which is shown nowhere."""

    url: str = field(repr=False)
    name: str

    @property
    def dsn(self) -> str:
        """The URL as PostgreSQL's own programs, and asyncpg, write it."""
        return "postgresql://" + self.url.partition("://")[2]

    def __str__(self) -> str:
        parts = urlsplit(self.dsn)
        port = f":{parts.port}" if parts.port else ""
        return f"postgresql://{parts.hostname or ''}{port}{parts.path}, schema {self.name}"


Place = Path | Schema


def is_postgres_url(url: str) -> bool:
    """Say whether a URL is one of a PostgreSQL database."""
    scheme, separator, rest = url.partition("://")
    return scheme in SCHEMES and bool(separator) and bool(rest)


def with_password(url: str, password: str) -> str:
    """Return a database's URL with a password; raise ValueError where it has one, or names no user."""
    parts = urlsplit(url)
    if not parts.username or parts.password is not None:
        raise ValueError("the URL must name a user, and no password, where the password is kept elsewhere")
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}").geturl()
